"""Bytes → Radiograph: recognises the format by content, holds the limits, refuses by a named error.

The file name and the declared content type are never looked at: a text file named .png is text.
"""

from cxr.decoding_child import FORMATS
from cxr.errors import EmptyFile, FileTooLarge, UnsupportedFormat
from cxr.headers import JPEG_MAGIC, PNG_MAGIC
from cxr.radiograph import Limits, Radiograph
from cxr.raster import read_raster
from cxr.raster_apart import read_raster_apart

__all__ = ["SERVED", "TRAINING", "Limits", "Radiograph", "read", "recognised"]

SERVED = frozenset({"png", "jpeg", "dicom"})
TRAINING = SERVED | {"tiff"}  # data sets on our own disk come as TIFF too; its many codecs stay off the network


def recognised(data: bytes) -> str | None:
    """Format of the content: "png" | "jpeg" | "tiff" | "dicom", or None.

    DICOM is asked first: its 128 free bytes in front may pretend to be anything, and often hold a TIFF header (PS3.10, 7.1).
    Without that preamble DICOM is recognised by a first element of group 0002 or 0008, where every data set of an image begins.
    """
    if data[128:132] == b"DICM":
        return "dicom"
    if data.startswith(PNG_MAGIC):
        return "png"
    if data.startswith(JPEG_MAGIC):
        return "jpeg"
    if data.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff"
    if len(data) >= 8 and data[:2] in (b"\x02\x00", b"\x08\x00") and data[2] <= 0x18 and data[3] == 0:
        return "dicom"
    return None


def read(data: bytes, limits: Limits = Limits(), formats: frozenset[str] = SERVED) -> Radiograph:
    """One film from the bytes of a file.

    `formats` are the ones accepted, of "png", "jpeg", "dicom", "tiff". Raises only FilmErrors: EmptyFile, UnsupportedFormat (other
    content, exotic sample types), FileTooLarge, FilmTooSmall, TruncatedFile, UnsupportedDicom, NotGray.
    Whether the film shows a frontal chest is not judged here, and an inverted PNG or JPEG cannot be told from its bytes.
    """
    if len(data) > limits.max_bytes:
        raise FileTooLarge(f"{len(data):,} bytes", f"at most {limits.max_bytes:,} bytes", "Send one film, compressed.")
    allowed = ", ".join(sorted(name.upper() for name in formats))
    if not data:
        raise EmptyFile("no bytes", f"the content of a file: {allowed}", "Send the film again.")
    source = recognised(data)
    if source is None or source not in formats:
        found = source.upper() if source else "content of no known image format"
        raise UnsupportedFormat(found, allowed, "The content decides, not the file name: export the film in one of these.")
    if source != "dicom":
        if limits.files_per_decoder and source in FORMATS:
            return read_raster_apart(data, source, limits)
        return read_raster(data, source, limits)
    # Here: pydicom takes half a second to import, which a service that starts spends beside the loading of its graphs.
    from cxr.dicom import read_dicom

    return read_dicom(data, limits)
