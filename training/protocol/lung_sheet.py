"""Held-out pairs on one picture: where a lung U-Net goes wrong, at a glance."""

from pathlib import Path

from cxr.segmentation import OnnxSegmenter
from training.data.lung_pairs import dice, load_arrays
from training.evaluation.contact_sheet import Panel, contact_sheet
from training.protocol.lung_unet import PRESETS, held_out


def write_sheet(pairs_folder: Path, preset: str, graph: Path, path: Path, most: int = 24) -> None:
    """Contact sheet PNG of the held-out pairs: the mask found over the mask drawn. Stays on this machine: it shows films."""
    settings = PRESETS[preset]()
    chosen = [pair for pair in held_out(pairs_folder, preset) if pair.definition == settings.definition][:most]
    arrays = load_arrays(chosen, settings.size)
    segmenter = OnnxSegmenter.from_file(graph, threads=settings.threads)
    panels = []
    for film, lungs in zip(arrays.films, arrays.lungs, strict=True):
        found = segmenter.probability(film)
        panels.append(Panel(film, found, lungs, f"Dice {dice(found >= 0.5, lungs):.3f}"))
    contact_sheet(panels, path)
