"""DICOM pixel data → stored values: lengths and codestream are checked first, then one named decoder per transfer syntax."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cxr.decoding import decode_apart
from cxr.decoding_child import GDCM, OPENJPEG, PILLOW
from cxr.errors import FileTooLarge, TruncatedFile, UnsupportedDicom
from cxr.headers import Stream, j2k_header, jpeg_header
from cxr.radiograph import Limits

RUN_LENGTHS, BASELINE = "pydicom", 50
# Transfer syntax → decoder: "" for none, pydicom's own of run lengths, which is Python, or one that runs in a child process. Named,
# because the order of what is installed would decide otherwise: of the two decoders of JPEG Lossless only gdcm undoes the modulo-65536
# prediction right (pylibjpeg-libjpeg issue 90). Pillow reads 8 bits of JPEG Extended, its 12 bits are gdcm's.
PLUGINS: dict[UID, str] = {
    ImplicitVRLittleEndian: "",
    ExplicitVRLittleEndian: "",
    ExplicitVRBigEndian: "",
    RLELossless: RUN_LENGTHS,
    JPEGBaseline8Bit: PILLOW,
    JPEGExtended12Bit: PILLOW,
    JPEGLossless: GDCM,
    JPEGLosslessSV1: GDCM,
    JPEGLSLossless: GDCM,
    JPEGLSNearLossless: GDCM,
    JPEG2000Lossless: OPENJPEG,
    JPEG2000: OPENJPEG,
}
LOSSY, LOSSLESS, NEAR = ("SOF0", "SOF1", "SOF2"), ("SOF3",), ("SOF55",)
PROCESSES: dict[UID, tuple[str, ...]] = {
    JPEGBaseline8Bit: LOSSY,
    JPEGExtended12Bit: LOSSY,
    JPEGLossless: LOSSLESS,
    JPEGLosslessSV1: LOSSLESS,
    JPEGLSLossless: NEAR,
    JPEGLSNearLossless: NEAR,
    JPEG2000Lossless: ("J2K",),
    JPEG2000: ("J2K",),
}
MOST_TILES = 4_096


def stored_values(dataset: Dataset, limits: Limits) -> NDArray[np.integer[Any]]:
    """(Rows, Columns) values of BitsStored bits in an integer type of BitsAllocated, sign extended where PixelRepresentation is 1.

    The data set must be checked: one gray frame of 8 or 16 allocated bits. Raises TruncatedFile where the pixel data is shorter
    or longer than Rows × Columns say or its codestream declares another size, UnsupportedDicom for other processes and depths,
    FileTooLarge for more than `limits.max_scans` JPEG scans.
    """
    plugin = PLUGINS[dataset.file_meta.TransferSyntaxUID]
    decoded = _decoded(dataset, plugin, limits)
    # Bits above HighBit may hold overlays, bits below are padding (PS3.5, 8.1.1). Two shifts drop both and extend the sign; a
    # codestream holds bare values, whatever HighBit says of the uncompressed layout.
    lowest = dataset.HighBit + 1 - dataset.BitsStored if plugin in ("", RUN_LENGTHS) else 0
    bits = dataset.BitsAllocated
    values = decoded.astype(f"i{bits // 8}" if dataset.PixelRepresentation else f"u{bits // 8}", copy=False)
    # Films are large, and most have nothing to drop.
    bare = not dataset.PixelRepresentation and lowest == 0 and values.max() < 2**dataset.BitsStored
    if dataset.BitsStored < bits and not bare:
        values = (values << (bits - dataset.BitsStored - lowest)) >> (bits - dataset.BitsStored)
    return np.asarray(values)


def _decoded(dataset: Dataset, plugin: str, limits: Limits) -> NDArray[Any]:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not plugin:
        _check_length(dataset)
        if syntax.is_little_endian:  # as pydicom's decoder gives it, without its copies
            wide, pixels = f"<u{dataset.BitsAllocated // 8}", dataset.Rows * dataset.Columns
            return np.frombuffer(dataset.PixelData, wide, pixels).reshape(dataset.Rows, dataset.Columns)
    else:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        if plugin == RUN_LENGTHS:
            _check_run_lengths(frame, dataset)
        else:
            stream = _checked_codestream(frame, dataset, plugin, limits)
            of_pillow = plugin == PILLOW and stream.bits == 8
            return decode_apart(frame, stream, BASELINE if of_pillow else int(syntax.rsplit(".", 1)[1]))
    decoded, _ = get_decoder(syntax).as_array(dataset, index=0, raw=True, decoding_plugin=plugin, correct_unused_bits=False)
    return np.asarray(decoded)


def _check_length(dataset: Dataset) -> None:
    expected, actual = dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8, len(dataset.PixelData)
    # Padded to an even length, at most: more would mean that Rows or Columns lie, and the film would come out sheared.
    if actual not in (expected, expected + expected % 2):
        raise TruncatedFile(f"{actual:,} bytes of pixel data", f"{expected:,} bytes for this size and depth", "Export it again.")


def _checked_codestream(frame: bytes, dataset: Dataset, plugin: str, limits: Limits) -> Stream:
    stream = j2k_header(frame) if plugin == OPENJPEG else jpeg_header(frame)
    if (stream.width, stream.height, stream.components) != (dataset.Columns, dataset.Rows, 1):
        found = f"compressed data of {stream.width} × {stream.height} × {stream.components}"
        raise TruncatedFile(found, f"{dataset.Columns} × {dataset.Rows} × 1, as the header says", "Export the film again.")
    syntax, allocated = dataset.file_meta.TransferSyntaxUID, dataset.BitsAllocated
    processes, depths = PROCESSES[syntax], [8] if plugin == PILLOW else list(range(8, allocated + 1))
    if (syntax, stream.process, allocated) == (JPEGExtended12Bit, "SOF1", 16):
        depths.append(12)
    if stream.process not in processes or stream.bits not in depths:
        found = f"compressed data of process {stream.process} with {stream.bits} bits"
        allowed = f"{' or '.join(processes)} with {' or '.join(map(str, depths))} bits"
        raise UnsupportedDicom(found, allowed, "Export it uncompressed.")
    if stream.scans > limits.max_scans or stream.tiles > MOST_TILES:
        found = f"compressed data of {stream.scans} scans and {stream.tiles} tiles"
        raise FileTooLarge(found, f"at most {limits.max_scans} scans and {MOST_TILES} tiles", "Export the film uncompressed.")
    return stream


def _check_run_lengths(frame: bytes, dataset: Dataset) -> None:
    """Walks the runs of every RLE segment (PS3.5, annex G): two bytes make 128, so that 64 MiB could ask for 4 GiB."""
    planes, pixels = dataset.BitsAllocated // 8, dataset.Rows * dataset.Columns
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != planes:
        raise TruncatedFile(f"{count} RLE segments", f"{planes} for {dataset.BitsAllocated} bits", "Export the film again.")
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        length, position = 0, start
        while position < end and length <= pixels + 1:
            run = frame[position]
            length += run + 1 if run < 128 else 257 - run if run > 128 else 0
            position += run + 2 if run < 128 else 2 if run > 128 else 1
        if length not in (pixels, pixels + 1):
            raise TruncatedFile("an RLE segment of another length", f"{pixels:,} bytes, as the header says", "Export it again.")
