"""Files that are whole or not there, whatever is killed when: temporary file, fsync, rename, fsync of the folder.

Pillai et al., "All file systems are not created equal" (OSDI 2014): without the last step a rename may be lost with the power.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of a closed file durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write(path: Path, content: bytes) -> None:
    """Put `content` under the name `path`, or leave what was there. Two writers at once: the later rename wins, both are whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_once(path: Path, content: bytes) -> None:
    """Put `content` under the name `path`, in a folder that is made, unless something has it: of two writers the first counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{os.getpid()}")
    write(own, content)
    with suppress(FileExistsError):
        os.link(own, path)
    own.unlink()
