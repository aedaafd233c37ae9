"""Why a file cannot become a film: one class per reason, each naming what was found and what is allowed.

The classes are the vocabulary of every caller: training lists them per film, the service maps them to problem+json
(`serving/errors.py`). A message never carries patient data: no file name, no DICOM text value.
"""

from typing import ClassVar


class FilmError(ValueError):
    """A file that cannot be read as one frontal radiograph.

    `found` and `allowed` are phrases that read on in one sentence; `advice` says what the sender can do.
    """

    code: ClassVar[str] = "unreadable-film"
    title: ClassVar[str] = "The file cannot be read as a radiograph"

    def __init__(self, found: str, allowed: str, advice: str = "") -> None:
        self.found = found
        self.allowed = allowed
        self.advice = advice
        super().__init__(f"{self.title}: found {found}; allowed: {allowed}." + (f" {advice}" if advice else ""))


class UnsupportedFormat(FilmError):
    """The content is none of the formats that are read (whatever the file is called)."""

    code = "unsupported-format"
    title = "Unsupported file format"


class EmptyFile(FilmError):
    """No bytes at all, as a copy that failed leaves behind."""

    code = "empty-body"
    title = "Empty body"


class FileTooLarge(FilmError):
    """More bytes, or more pixels after decoding, than the limit. Found before anything is decoded."""

    code = "file-too-large"
    title = "File too large"


class TruncatedFile(FilmError):
    """The file starts well and ends early, or its compressed data does not decode."""

    code = "truncated-file"
    title = "Truncated or damaged file"


class UnsupportedDicom(FilmError):
    """Valid DICOM, but not a single-frame gray radiograph of a modality and transfer syntax that is read."""

    code = "unsupported-dicom"
    title = "Not a DICOM radiograph"


class FilmTooSmall(FilmError):
    """Fewer pixels than a chest can be judged on."""

    code = "film-too-small"
    title = "Film too small"


class NoContrast(FilmError):
    """All pixels (nearly) equal: black, white or blank."""

    code = "no-contrast"
    title = "Film without contrast"


class NotGray(FilmError):
    """A colour picture: radiographs are gray, also when they are stored as RGB."""

    code = "not-gray"
    title = "Not a gray picture"


class NotFrontalChest(FilmError):
    """A readable picture that the input gate (`cxr.gate`) does not take for a frontal film of an adult's chest.

    `reason` is a short word, of those that `cxr.gate` has; `score` and `threshold` are those of the picture, None where the DICOM tags
    decided.
    """

    code = "not-a-frontal-chest"
    title = "Not a frontal chest film of an adult"

    def __init__(self, reason: str, found: str, allowed: str, score: float | None = None, threshold: float | None = None) -> None:
        self.reason = reason
        self.score = score
        self.threshold = threshold
        super().__init__(found, allowed, "Send the film as it hangs on the light box, bones white.")
