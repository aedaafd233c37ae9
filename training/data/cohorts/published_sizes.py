"""Trees as large as AIforCOVID and BRIXIA, with nothing on the films: for timing and checking all that reads and splits tables.

Every count that is published, or was counted in the authors' public split files, is exact: films per centre, release and class of
AIforCOVID (1,585, one per patient); films per manufacturer and category and per global score of BRIXIA (4,695, several per
subject). Which film has which of them is drawn. The films are valid DICOM files of 16×16 random pixels, no two alike, and too
small to be prepared: the phantom is what networks learn from.
"""

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from cxr.tasks import SEVERITY_BOUNDS
from training.data.cohorts.phantom.severity import ZONE_COUNTS
from training.data.cohorts.phantom.tables import save_csv, save_workbook

SIDE = 16  # pixels
# Table → its image folder and its series: id prefix, highest number (numbers have gaps), films MILD and SEVERE by centre.
AIFORCOVID = {
    "AIforCOVID.xlsx": ("imgs", (
        ("P_", 844, {"A": (35, 85), "B": (59, 45), "C": (8, 23), "D": (76, 63), "E": (55, 46), "F": (151, 174)}),
    )),
    "AIforCOVID_r2.xlsx": ("imgs_r2", (("P_1_", 163, {"F": (89, 74)}), ("P_2_", 122, {"C": (62, 58)}))),
    "AIforCOVID_r3.xlsx": ("imgs_r3", (("P_3_", 500, {"F": (304, 178)}),)),
}  # fmt: skip
# Manufacturer → films of categories 0-3 (equation 4 of the paper), and its spellings in turn.
BRIXIA = {
    ("SIEMENS",): (490, 651, 760, 296),
    ("Carestream Health",): (312, 548, 704, 241),
    ("AGFA", "Agfa-Gevaert"): (190, 158, 173, 55),
    ("KODAK",): (23, 21, 26, 3),
    ("Villa Sistemi Medicali",): (14, 7, 6, 1),
    ("FUJIFILM Corporation",): (6, 0, 9, 0),
    ("Digitec",): (0, 0, 1, 0),
}
GLOBAL_SCORES = (51, 165, 299, 251, 269, 277, 370, 351, 387, 353, 391, 356, 318, 261, 233, 164, 116, 60, 23)  # films with 0..18
CONSENSUS_FILMS = 150
FILMS_PER_SUBJECT = 2  # on average; the true number is not public


def write(root: Path, seed: int = 0) -> None:
    """Writes `root`/AIforCOVID and `root`/BRIXIA in the layouts of the published data sets; equal seeds give equal files.

    6,280 files of about half a kilobyte. Raises FileExistsError when one of the two folders is there already.
    """
    _write_aiforcovid(root / "AIforCOVID", np.random.default_rng((seed, 0)))
    _write_brixia(root / "BRIXIA", np.random.default_rng((seed, 1)))


def _write_aiforcovid(folder: Path, rng: np.random.Generator) -> None:
    header = ("ImageFile", "Hospital", "Age", "Sex", "Prognosis")
    for table, (images, all_series) in AIFORCOVID.items():
        (folder / images).mkdir(parents=True)
        rows: list[Sequence[object]] = [header]
        for prefix, highest, centres in all_series:
            films = [
                (centre, label)
                for centre, counts in centres.items()
                for label, n in zip(("MILD", "SEVERE"), counts, strict=True)
                for _ in range(n)
            ]
            numbers = np.sort(rng.choice(highest, size=len(films), replace=False)) + 1
            for number, film in zip(numbers, rng.permutation(len(films)), strict=True):
                centre, label = films[film]
                rows.append((f"{prefix}{number}", centre, _age(rng), int(rng.random() < 0.33), label))
        save_workbook(folder / table, rows)
        for (name, *_), film in zip(rows[1:], _films("DX", len(rows) - 1, rng), strict=True):
            (folder / images / f"{name}.dcm").write_bytes(film)


def _age(rng: np.random.Generator) -> int | None:
    """Years, plausible for patients in hospital; one cell in a hundred is empty, as clinical cells are."""
    years = int(np.clip(rng.normal(65, 15), 19, 95))
    return years if rng.random() > 0.01 else None


def _write_brixia(folder: Path, rng: np.random.Generator) -> None:
    (folder / "dicom_clean").mkdir(parents=True)
    scored = _scored(rng)
    order = rng.permutation(len(scored))
    consensus = set(rng.choice(len(scored), size=CONSENSUS_FILMS, replace=False).tolist())
    subjects = len(scored) // FILMS_PER_SUBJECT
    subject = rng.permutation([*range(subjects), *rng.integers(subjects, size=len(scored) - subjects)])
    sexes, age_bins = rng.choice(["F", "M"], size=subjects, p=[0.4, 0.6]), rng.integers(4, 19, size=subjects)
    header = ("Filename", "StudyDate", "Modality", "Manufacturer", "PhotometricInterpretation", "Rows", "Columns", "StudyId",
              "BrixiaScore", "BrixiaScoreGlobal", "ConsensusTestset", "Subject", "Sex", "AgeAtStudyDateFiveYear")  # fmt: skip
    rows = []
    for i, name in enumerate(_numbers(len(scored), rng)):
        maker, zones = scored[order[i]]
        rows.append((
            f"{name}.dcm", f"202003{1 + i % 31:02d}", "CR" if maker in ("KODAK", "FUJIFILM Corporation") else "DX", maker,
            "MONOCHROME2", SIDE, SIDE, 9000 + i, str(int(zones)), sum(map(int, zones)), int(i in consensus),
            f"S{1000 + subject[i]}", sexes[subject[i]], age_bins[subject[i]],
        ))  # fmt: skip
    save_csv(folder / "metadata_global_v2.csv", header, rows, ";")
    for modality in ("CR", "DX"):
        names = [row[0] for row in rows if row[2] == modality]
        for name, film in zip(names, _films(modality, len(names), rng), strict=True):
            (folder / "dicom_clean" / name).write_bytes(film)


def _scored(rng: np.random.Generator) -> list[tuple[str, str]]:
    """(manufacturer as spelled, zones A-F as six digits) of every film, the counts of both tables above exact."""
    patterns = np.array(list(product(range(4), repeat=6)))
    odds = np.prod(np.array(ZONE_COUNTS)[np.arange(6), patterns], axis=1, dtype=np.float64)
    scored: list[tuple[str, str]] = []
    for category, (first, end) in enumerate(pairwise((0, *SEVERITY_BOUNDS, len(GLOBAL_SCORES)))):
        zones: list[str] = []
        for total in range(first, end):
            possible = np.flatnonzero(patterns.sum(axis=1) == total)
            drawn = rng.choice(possible, size=GLOBAL_SCORES[total], p=odds[possible] / odds[possible].sum())
            zones += ["".join(map(str, patterns[i])) for i in drawn]
        makers = [spellings[i % len(spellings)] for spellings, counts in BRIXIA.items() for i in range(counts[category])]
        scored += zip(makers, rng.permutation(zones).tolist(), strict=True)
    return scored


def _numbers(n: int, rng: np.random.Generator) -> list[str]:
    """n different file numbers of 19 or 20 digits, about half of them above the largest signed 64-bit integer."""
    chosen: dict[str, None] = {}
    while len(chosen) < n:
        chosen[str(rng.integers(10**18, 2**64, dtype=np.uint64))] = None
    return list(chosen)


def _films(modality: str, n: int, rng: np.random.Generator) -> Iterator[bytes]:
    """n complete DICOM files that differ in their pixels only; the pixels are the last element of a file."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage if modality == "CR" else DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.PatientName, dataset.PatientID = modality, "SYNTHETIC", "SYNTHETIC"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = bytes(SIDE * SIDE)
    dataset["PixelData"].VR = "OB"
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    head = stream.getvalue()[: -SIDE * SIDE]
    for _ in range(n):
        yield head + rng.bytes(SIDE * SIDE)
