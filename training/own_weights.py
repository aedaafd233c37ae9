"""Weights of one's own to start from, beside ImageNet's: named sets of files, each with a note of its digest and of how it was made.

A set is a folder in the folder of weights: `<weights>/<set>/<backbone>.safetensors`, with `<backbone>.json` beside it. A recipe's backbone
says `weights="<set>"`, and what is trained from it carries the digest of the file in its fingerprint. No torch here.
"""

import json
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from cxr import durable
from training.imagenet import WeightsNotFound, WeightsRefused, refuse_other, sha256

SET = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
NO_SETS = ("imagenet", "scratch")  # words of a recipe that mean something else


class Note(BaseModel):
    """What is known of a file: `sha256` of its bytes, hex, and in words where its weights come from (at most a line)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    origin: str


def is_set(name: str) -> bool:
    """Whether a set may be called so: small letters, digits and dashes, and not a word that means something else."""
    return name not in NO_SETS and SET.match(name) is not None


def checked(weights: str) -> str:
    """What a recipe says of a backbone's weights. Raises ValueError for what is neither a word of NO_SETS nor a name of a set."""
    if weights not in NO_SETS and not is_set(weights):
        raise ValueError(
            f"weights are {weights!r}; allowed: 'imagenet', 'scratch', or the name of a set made by `mdmt starts`: small letters, "
            "digits and dashes"
        )
    return weights


def place(chosen: str, backbone: str, folder: Path) -> Path:
    """Where the file of a backbone lies, or will lie, in the set `chosen`. Raises WeightsRefused for what is no name of a set."""
    if not is_set(chosen):
        raise WeightsRefused(f"{chosen!r} is no name for a set of weights: small letters, digits and dashes, and not {NO_SETS}")
    return folder / chosen / f"{backbone}.safetensors"


def is_here(chosen: str, backbone: str, folder: Path) -> bool:
    return place(chosen, backbone, folder).is_file()


def note(chosen: str, backbone: str, folder: Path) -> Note:
    """The note of a file, which is read and compared with it. Raises WeightsNotFound, and WeightsRefused when it is another file."""
    path = place(chosen, backbone, folder)
    try:
        kept = Note.model_validate_json(path.with_suffix(".json").read_bytes())
        found = sha256(path)
    except (FileNotFoundError, ValidationError) as error:
        raise WeightsNotFound(
            f"no weights {chosen!r} for {backbone!r} in {folder}: {path.name} and its note are made by `mdmt starts`, "
            "see `mdmt starts --help`; or let the recipe say 'scratch', 'imagenet'"
        ) from error
    refuse_other(f"{chosen}/{path.name}", found, kept.sha256)
    return kept


def keep(part: Path, chosen: str, backbone: str, folder: Path, origin: str) -> Note:
    """A finished temporary file in `folder` takes its place in the set, with its note; an older one goes."""
    target = place(chosen, backbone, folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Note(sha256=sha256(part), origin=origin)
    durable.sync_file(part)
    durable.write(target.with_suffix(".json"), json.dumps(made.model_dump(), indent=1).encode())
    part.replace(target)
    durable.sync_folder(target.parent)
    return made
