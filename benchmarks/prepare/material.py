"""What is prepared: phantoms as 8-bit PNG of 1024 pixels, 16-bit DICOM of 2000 and JPEG of 1024, and a U-Net trained on phantoms."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.cxr.dicoms import dicom
from training.data.cohort import Cohort, Row
from training.data.cohorts.phantom import PhantomSpec, generate
from training.data.cohorts.phantom.acquisition import expose
from training.data.cohorts.phantom.plan import held_out_films
from training.protocol.lung_unet import ensure_segmenter
from training.tracking import Tracking, default_uri

KINDS = {"png": 1024, "dcm": 2000, "jpg": 1024}  # extension → side in pixels
PAIRS = PhantomSpec.small(prognosis_films=9, severity_films=1, lung_pairs=60)


def films(folder: Path, each: int) -> list[Path]:
    """`each` files of every kind, kinds in turn; made once."""
    folder.mkdir(parents=True, exist_ok=True)
    plans = held_out_films(PhantomSpec(pixels=(1024, 1024), held_out_films=each))
    made: list[Path] = []
    for i, plan in enumerate(plans):
        paths = {kind: folder / f"{i:03}.{kind}" for kind in KINDS}
        if not all(path.is_file() for path in paths.values()):
            picture = Image.fromarray(expose(plan).picture)
            for kind, side in KINDS.items():
                _write(paths[kind], np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))
        made += paths.values()
    return made


def _write(path: Path, picture: np.ndarray) -> None:
    """`picture` 0..1, with the noise of a detector where the format keeps it."""
    rng = np.random.default_rng(int(path.stem))
    grainy = np.clip(picture + rng.normal(0, 0.004, picture.shape), 0, 1)
    if path.suffix == ".dcm":
        path.write_bytes(dicom((grainy * 65535).astype(np.uint16)))
    else:
        Image.fromarray((grainy * 255).astype(np.uint8)).save(path, quality=90)


def cohort(files: list[Path], copies: int, folder: Path) -> Cohort:
    """Every file `copies` times, as hard links: rows of their own, without the disk that they would take."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(copies):
        for file in files:
            image = folder / f"{i:03}-{file.name}"
            if not image.exists():
                image.hardlink_to(file)
            rows.append(Row(image.name, image, image.name, "A", {"prognosis": 0}))
    return Cohort("bench", tuple(rows))


def unet(home: Path) -> Path:
    """ONNX file of a U-Net trained on phantoms in a minute; trained once."""
    generate(home / "pairs", PAIRS, workers=2)
    return ensure_segmenter(home / "pairs" / "lung-masks", "smoke", Tracking(default_uri(home), home)).graph
