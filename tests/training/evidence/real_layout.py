"""Generated chests in the layout of the real pack: a cohort, pairs with drawn lungs from two collections, awkward files."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.segmentation import MASK_SIZE
from tests.cxr.chests import chest, seen
from training.data.lung_pairs import BEHIND_HEART, WITHOUT_HEART

FILMS, PAIRS = 96, 16


def write_pack(root: Path) -> Path:
    """FILMS films of half as many patients; PAIRS pairs of as many patients, "V7" of one kind and "JSRT" of the other, drawn a little
    larger than what the test segmenter finds; every second one drawn twice."""
    (root / "public-prognosis/images").mkdir(parents=True)
    rows = ["image,patient_id,centre,label,view,phase,confidence"]
    for i in range(FILMS):
        Image.fromarray(chest(i)).save(root / f"public-prognosis/images/{i}.png")
        rows.append(f"images/{i}.png,P{i // 2},ITALY,{('MILD', 'SEVERE')[i // 2 % 2]},PA,not_in_icu,high")
    (root / "public-prognosis/labels.csv").write_text("\n".join(rows))
    _write_pairs(root / "lung-masks")
    (root / "oddities").mkdir()
    Image.fromarray(chest(500)).save(root / "oddities/film.png")
    (root / "oddities/empty.jpg").write_bytes(b"")
    rows = ["file,kind,expected,patient_id", "film.png,a film,accept,P0", "empty.jpg,CT that is empty,reject or flag,"]
    (root / "oddities/oddities.csv").write_text("\n".join(rows))
    return root


def _write_pairs(root: Path) -> None:
    for name in ("images", "masks", "second"):
        (root / name).mkdir(parents=True)
    listed = []
    for i in range(PAIRS):
        gray = chest(1000 + i, MASK_SIZE, MASK_SIZE)
        lungs = seen(gray).lungs
        larger = lungs | np.roll(lungs, 3 + i % 3, axis=0)
        for folder, mask in (("masks", larger), ("second", lungs)):
            Image.fromarray(mask.astype(np.uint8) * 255).save(root / folder / f"{i}.png")
        Image.fromarray(gray).save(root / f"images/{i}.png")
        source, kind = (("V7", BEHIND_HEART), ("JSRT", WITHOUT_HEART))[i % 2]
        second = f"second/{i}.png" if i % 4 < 2 else ""
        listed.append((f"p{i}", f"images/{i}.png", f"masks/{i}.png", second, f"P{i}", source, kind))
    with (root / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "image", "mask", "second_mask", "patient_id", "dataset", "definition"), *listed])
