"""The body of the process that decodes one JPEG Lossless or JPEG-LS frame with gdcm: run as a script (only its constants are imported).

On some damaged streams gdcm's JPEG code ends the whole process by abort(), which no `except` survives, and CharLS computes for
seconds over a few kilobytes (pyjpegls too). Header and frame come on standard input, the samples leave on standard output; every
failure is an exit code other than 0.
"""

import resource
import struct
import sys

HEADER = struct.Struct("<IIII")  # width, height, bits per sample, 57, 70, 80 or 81 (last part of the transfer syntax)
MEMORY, SECONDS = 1536 * 1024 * 1024, 8  # address space, processor time
GDCM_MISSING = 3  # exit code


def main() -> int:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        import gdcm  # type: ignore[import-untyped]  # after the limits, so that they hold for it too
    except ImportError:
        return GDCM_MISSING

    width, height, bits, syntax = HEADER.unpack(sys.stdin.buffer.read(HEADER.size))
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(sys.stdin.buffer.read())
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((width, height, 1))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    processes = {
        57: gdcm.TransferSyntax.JPEGLosslessProcess14,
        70: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        80: gdcm.TransferSyntax.JPEGLSLossless,
        81: gdcm.TransferSyntax.JPEGLSNearLossless,
    }
    image.SetTransferSyntax(gdcm.TransferSyntax(processes[syntax]))
    # Unsigned here: the caller extends the sign, because these streams know none.
    image.SetPixelFormat(gdcm.PixelFormat(1, 8 if bits <= 8 else 16, bits, bits - 1, 0))
    image.SetDataElement(element)
    sys.stdout.buffer.write(image.GetBuffer().encode("utf-8", "surrogateescape"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
