"""Makes the versions of torch, torchvision and timm known to an image that does not have their code.

A unit's fingerprint names them, and the control plane, which computes it, must name those of the image that trains.
"""

import re
import sys
import sysconfig
from pathlib import Path

NAMES = ("torch", "torchvision", "timm")


def declare(lock: str, packages: Path) -> None:
    """Write one metadata folder per name, as an installer would. Raises KeyError with the name that the lock does not have."""
    versions = dict(re.findall(r"^(\S+)==(\S+) ", lock, flags=re.MULTILINE))
    for name in NAMES:
        folder = packages / f"{name}-{versions[name]}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {versions[name]}\n")


if __name__ == "__main__":
    declare(Path(sys.argv[1]).read_text(), Path(sysconfig.get_path("purelib")))
