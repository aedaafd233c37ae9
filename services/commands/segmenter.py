"""`mdmt segmenter`: the lung U-Net."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from services.commands.studies import RecipeOption
from services.environment import tracking

segmenter_app = typer.Typer(no_args_is_help=True, help="The lung U-Net.")


@segmenter_app.command("train")
def train(
    recipe: RecipeOption = "demo",
    data: Annotated[Optional[Path], typer.Option(help="Data folder; default: the recipe's own.")] = None,  # noqa: UP045
    pairs: Annotated[Optional[Path], typer.Option(help="Folder with pairs.csv, instead of the recipe's.")] = None,  # noqa: UP045
    preset: Annotated[Optional[str], typer.Option(help="demo, real, real-lungs or smoke, instead of the recipe's.")] = None,  # noqa: UP045
    sheet: Annotated[Optional[Path], typer.Option(help="Contact sheet PNG of held-out films: keep it local.")] = None,  # noqa: UP045
) -> None:
    """Train, log and register the lung U-Net on image/mask pairs, unless an equal one is registered."""
    from services.console import StudyView
    from training.protocol import lung_sheet, lung_unet
    from training.protocol.recipe import find_data, load_recipe

    choice = load_recipe(recipe)
    folder, preset = pairs or find_data(choice, data) / choice.segmenter.pairs, preset or choice.segmenter.preset
    out = Console(width=None if sys.stdout.isatty() else 165)
    with StudyView(out) as view:
        tracked = tracking()
        unet = lung_unet.ensure_segmenter(folder, preset, tracked, lambda epoch, n: view.stage("lung U-Net", epoch, n))
    out.print(f"lung U-Net: {unet.graph}; Dice on held-out pairs: {lung_unet.registered_dice(unet.fingerprint, tracked)}")
    if sheet:
        lung_sheet.write_sheet(folder, preset, unet.graph, sheet)
