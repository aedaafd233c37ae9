"""The card of a lung U-Net, for people: what it was trained on, how well it does on patients it has not seen, what it is not for."""

from collections import Counter
from collections.abc import Mapping, Sequence

from training.data.lung_pairs import LungPair, split_pairs
from training.evaluation.card import NOTICE
from training.evaluation.table import as_markdown
from training.runs import git_commit
from training.settings import SegmenterSettings

ROLES = {"train": "training", "val": "validation, which chose the epoch", "test": "held out"}


def lung_card(
    name: str, fingerprint: str, pairs: Sequence[LungPair], settings: SegmenterSettings, best: tuple[int, float],
    test: Mapping[str, Mapping[str, float]], cpu_seconds: float,
) -> str:  # fmt: skip
    """Markdown from the U-Net's own figures. `pairs` are all that it was given, and are split here as they were for its training; `best`
    is the epoch that was kept, counted from 0, with its validation Dice; `test` holds "mean", "median", "worst" Dice and "films" of the
    held-out ones by kind of lung."""
    split = split_pairs(pairs, settings.seed)
    parts = [(says, getattr(split, role)) for role, says in ROLES.items()]
    served = settings.definition
    return "\n\n".join([
        f"# {name} {fingerprint[:12]}",
        f"**{NOTICE}**",
        f"A U-Net that marks “{served}” on frontal chest films, so that they can be cut to the lungs. It finds no disease and measures no "
        "lung, and its mask is not to be shown as if a person had drawn it.",
        "## Trained on",
        as_markdown(("part", "pairs", "patients", "from"), [(says, len(part), _patients(part), _sources(part)) for says, part in parts]),
        f"Divided by patient. Films are squeezed to {settings.size} × {settings.size}; {settings.odd:.0%} of the training films were shown "
        f"inverted, turned, cut or as if taken in bed. {settings.epochs} epochs, of which number {best[0] + 1} is kept (validation "
        f"Dice {best[1]:.4f}); {cpu_seconds:.0f} CPU seconds; code {git_commit()}.",
        "## Figures on held-out patients",
        as_markdown(("lung", "films", "Dice, mean", "median", "worst"), [_figures(*item) for item in test.items()]),
        "One division, no intervals: films of the same collections, not of another hospital. "
        + ("" if len(test) < 2 else f"Only “{served}” is in the graph; the run keeps the graphs of the other kinds of lung."),
        "## Where it fails",
        _failures(settings.odd),
    ]) + "\n"  # fmt: skip


def _figures(definition: str, dice: Mapping[str, float]) -> tuple[object, ...]:
    return definition, dice["films"], *(f"{dice[of]:.3f}" for of in ("mean", "median", "worst"))


def _failures(odd: float) -> str:
    exposed = "were a share of its training films" if odd else "were not among its training films, and its masks of them are poor"
    return (
        f"Inverted, turned and cut films {exposed}. Any picture gets a mask, also one that is no chest: the input gate of a served version "
        "is what refuses it. The mask carries no confidence of its own; look at the outline that an answer can be asked for."
    )


def _patients(pairs: Sequence[LungPair]) -> int:
    return len({pair.patient for pair in pairs})


def _sources(pairs: Sequence[LungPair]) -> str:
    return ", ".join(f"{source} {n}" for source, n in Counter(pair.source or "no source named" for pair in pairs).most_common())
