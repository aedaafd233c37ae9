"""What the tags of a DICOM film say about whose chest it shows and from where, as far as they say it.

Only code words, the age and two dates are looked at; none of them is kept as it stands, so nothing of them can reach an answer or a log.
"""

import re
from datetime import date

from pydicom import Dataset

KEYWORDS = (
    "ViewPosition", "ViewCodeSequence", "PatientOrientation", "BodyPartExamined", "PatientAge", "PatientBirthDate", "StudyDate",
)  # fmt: skip

# Defined terms of View Position (PS3.3, C.8.1.1 and C.8.11.1), and what is written in their place.
VIEWS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "LAO", "RAO", "LPO", "RPO")
ALSO_SAID = {"LAT": "LL", "LATERAL": "LL", "A.P.": "AP", "P.A.": "PA"}
# View Code Sequence, in SNOMED CT and as SRT codes of older files (PS3.16, CID 4010 and annex D).
CODED = {
    "399348003": "AP", "272479007": "PA", "399198007": "RL", "399173006": "LL", "399067008": "LL", "399135007": "LAO",
    "399356000": "RAO", "399006002": "LPO", "399038007": "RPO",
    "R-10206": "AP", "R-10214": "PA", "R-10232": "RL", "R-10236": "LL",
}  # fmt: skip

CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "PULM", "HEART", "RIB", "STERNUM", "CLAVICLE", "BRONCH", "TRACHEA", "MEDIASTIN")
# Defined terms of Body Part Examined (PS3.16, annex L) that are no chest. Other words say nothing: hospitals write their own.
OTHER_PARTS = frozenset((
    "ABDOMEN", "ABDOMENPELVIS", "ANKLE", "ARM", "BLADDER", "BRAIN", "BREAST", "CALCANEUS", "CALF", "CSPINE", "CERVIX",
    "COCCYX", "COLON", "EAR", "ELBOW", "ESOPHAGUS", "EYE", "FACE", "FEMUR", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD",
    "HEADNECK", "HIP", "HUMERUS", "JAW", "KIDNEY", "KNEE", "LEG", "LIVER", "LSPINE", "MAXILLA", "NECK", "NOSE", "ORBIT",
    "PAROTID", "PELVIS", "RADIUS", "SACRUM", "SHOULDER", "SINUS", "SKULL", "SPINE", "STOMACH", "SSPINE", "TSPINE",
    "TIBIA", "TIBIAFIBULA", "TOE", "UTERUS", "WRIST", "ZYGOMA",
))  # fmt: skip
ADULT_YEARS = 18
_YEARS = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}  # of the unit in one year


def view_of(dataset: Dataset) -> str | None:
    """View as a code word of VIEWS, by View Position, View Code or, for a lateral, Patient Orientation; None where none of them tells."""
    said = str(dataset.get("ViewPosition", "")).strip().upper()
    said = ALSO_SAID.get(said, said)
    if said in VIEWS:
        return said
    for item in dataset.get("ViewCodeSequence") or ():
        if coded := CODED.get(str(item.get("CodeValue", "")).strip()):
            return coded
    row = str((dataset.get("PatientOrientation") or ("",))[0]).strip().upper()
    return "LL" if row in ("A", "P") else None  # a row that runs from back to front


def is_chest(dataset: Dataset) -> bool | None:
    """Whether Body Part Examined names a chest; None where it is absent or a word of no list."""
    said = re.sub("[^A-Z]", "", str(dataset.get("BodyPartExamined", "")).upper())
    if any(word in said for word in CHEST):
        return True
    return False if said in OTHER_PARTS else None


def is_adult(dataset: Dataset) -> bool | None:
    """Whether the patient is ADULT_YEARS or older: by Patient's Age (PS3.5, VR AS: "045Y", "010M", …), where it is absent or malformed
    by the birthday before the study; None where both dates do not tell either."""
    said = re.fullmatch(r"\s*(\d{1,3})([DWMY])\s*", str(dataset.get("PatientAge", "")).upper())
    if said is not None:
        return int(said[1]) / _YEARS[said[2]] >= ADULT_YEARS
    born, seen = _date(dataset.get("PatientBirthDate")), _date(dataset.get("StudyDate"))
    if born is None or seen is None or born > seen:
        return None
    return (seen.year - born.year, seen.month, seen.day) >= (ADULT_YEARS, born.month, born.day)


def _date(value: object) -> date | None:
    """A day as PS3.5 writes it (VR DA: "19700131") and as its forerunner did ("1970.01.31"); None for anything else."""
    said = re.fullmatch(r"\s*(\d{4})(\.?)(\d{2})\2(\d{2})\s*", str(value))
    try:
        return None if said is None else date(int(said[1]), int(said[3]), int(said[4]))
    except ValueError:
        return None
