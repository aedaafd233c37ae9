"""`mdmt starts`: make weights that a recipe's backbones can start from. The command line hands in how it makes a study."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from training.own_weights import Note
    from training.protocol.study import Study, View

    MakeStudy = Callable[[str, Path | None, int], Study]
    Watch = Callable[[], AbstractContextManager[View]]

SetArgument = Annotated[str, typer.Argument(help="Name of the set: what a recipe's backbone then says as its weights.")]
DataOption = Annotated[Optional[Path], typer.Option(help="Data folder; default: the recipe's own.")]  # noqa: UP045
BackboneOption = Annotated[str, typer.Option(help="Name of a backbone that has ImageNet weights here.")]


def starts_verbs(make_study: "MakeStudy", watch: "Watch", weights: Callable[[], Path]) -> typer.Typer:
    """The three ways."""
    app = typer.Typer(no_args_is_help=True, help="Weights of one's own to start from: sets that recipes name.")

    @app.command("films")
    def films(
        chosen: SetArgument,
        recipe: Annotated[str, typer.Option(help="Recipe whose films are looked at; their labels are not.")],
        without: Annotated[Optional[str], typer.Option(help="Recipe whose patients are held out.")] = None,  # noqa: UP045
        backbone: BackboneOption = "efficientnet_lite0",
        epochs: Annotated[int, typer.Option(min=1)] = 30,
        size: Annotated[
            int | None, typer.Option(min=32, max=1024, help="Side of the films in pixels; default: the recipe's.")
        ] = None,
        data: DataOption = None,
    ) -> None:
        """Contrastive pre-training on films without labels, from ImageNet weights."""
        study = make_study(recipe, data, 1)  # a recipe that is not known is refused before the imports
        others = make_study(without, data, 1) if without else None
        from training.learning.contrast import Contrast
        from training.pretraining import at_size, from_films

        study = study.beside(at_size(study.recipe, size)) if size else study
        with watch() as view:
            _say(from_films(study, others, backbone, chosen, Contrast(epochs=epochs), view))

    @app.command("unit")
    def unit(
        chosen: SetArgument,
        recipe: Annotated[str, typer.Option(help="Recipe that was run.")],
        experiment: Annotated[str, typer.Option(help="Whose first finished unit is taken.")],
        data: DataOption = None,
    ) -> None:
        """The backbone that a unit of some recipe was trained to, e.g. on phantoms."""
        study = make_study(recipe, data, 1)
        from training.pretraining import from_unit

        with watch() as view:
            _say(from_unit(study, experiment, chosen, view))

    @app.command("sibling")
    def sibling(
        chosen: SetArgument,
        giver: BackboneOption = "efficientnet_lite0",
        taker: Annotated[str, typer.Option(help="Name of the backbone that starts from them.")] = "efficientnet_b0",
    ) -> None:
        """A backbone without ImageNet weights here from those of a relative."""
        from training.pretraining import from_sibling

        _say(from_sibling(giver, taker, chosen, weights()))

    return app


def _say(note: "Note") -> None:
    typer.echo(f"{note.origin} (SHA-256 {note.sha256[:12]})")
