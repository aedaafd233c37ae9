"""What is made once and kept for all contenders: a film of each kind, and the networks."""

import sys
from pathlib import Path

from benchmarks.page import ROOT
from benchmarks.serving.contenders import Networks
from benchmarks.serving.films import KINDS, film
from benchmarks.serving.networks import GOLDEN_FILMS, write_bundle
from benchmarks.serving.service import chosen_engine
from cxr.bundle import Bundle
from cxr.manifest import BundleError

STATE = ROOT / "state" / "bench-serving"


def made_films() -> dict[str, Path]:
    """A file of each kind."""
    STATE.mkdir(parents=True, exist_ok=True)
    files = {kind: STATE / f"film.{kind}" for kind in KINDS}
    for kind, file in files.items():
        file.write_bytes(film(kind))
    return files


def networks_of(backbone: str, unet: str) -> Networks:
    """Made once, and again when the format of bundles has changed."""
    folder = STATE / f"{backbone}-{unet}" / "bundle"
    try:
        known = len(Bundle(folder).golden) == GOLDEN_FILMS
    except (BundleError, FileNotFoundError):
        known = False
    if not known:
        sys.stderr.write(f"making networks: {backbone}, U-Net {unet}\n")
        write_bundle(folder, backbone, unet)
    chosen_engine(folder)  # once per host and bundle: not a part of any start
    return Networks(backbone, unet, folder)
