"""The part of docs/evidence.md on lungs: how well they are found on real films, and what the input gate makes of these and of others."""

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from statistics import fmean

from training.evaluation.contact_sheet import Panel, contact_sheet
from training.evaluation.table import as_markdown
from training.evidence.gate_cases import AS_IT_IS, Said
from training.evidence.gate_rates import every, refused
from training.evidence.lung_chart import dice_chart
from training.evidence.lung_findings import Findings, GateFound, find
from training.evidence.lung_frontal import both, together, unseen
from training.evidence.lung_overlap import Overlap, mean_of, median_of
from training.evidence.oddities import RULE
from training.evidence.page import Part, picture
from training.evidence.rates import Rate
from training.protocol.lung_record import Tried
from training.protocol.study import Study, View

CHART, SHEET, WORST = "lungs-dice.png", "lungs-worst.png", 20
ENOUGH = 5  # held-out films drawn twice, for a mean to say something
GOAL_SOURCE = "V7"
DICE_GOAL, BOTH_GOAL, GATE_GOAL = 0.95, 0.97, 0.95
GOAL_HEADER = ("goal", "found", "")
Row = tuple[object, ...]


def part(study: Study, view: View) -> Part:
    """Measures all of it: minutes. The contact sheet shows films, so it is kept and not published."""
    found = find(study, view)
    served = [one for one in found.held if one.pair.definition == found.served]
    drawn = {name: [one.dice for one in films] for name, films in by_source(found.held).items()}
    return Part(
        recipe=study.recipe.name,
        title="Lungs and the input gate",
        blocks=tuple(blocks(study.recipe.segmenter.preset, found)),
        pictures={CHART: dice_chart(drawn, [value for _, value in found.humans], DICE_GOAL)},
        kept={SHEET: worst_sheet(served)},
    )


def blocks(preset: str, found: Findings) -> list[str]:
    return [
        f"The lung U-Net of preset `{preset}`, on pairs whose patients it has neither learnt from nor been chosen by. It serves "
        f"“{found.served}”; films with lungs drawn otherwise are judged by the output that learnt them. Dice and IoU are of masks of "
        "256 × 256. Intervals are 95 %: of Dice and IoU by bootstrap over patients, of shares Wilson's (films of one patient are not "
        "independent, so these are somewhat too narrow).",
        as_markdown(GOAL_HEADER, goals(found)),
        "### Found lungs on drawn ones",
        as_markdown(("source", "lung", "films", "patients", "Dice, mean", "median", "worst", "IoU, mean"), _overlap_rows(found)),
        *_beside_humans(found),
        *[_unjudged(kind, figures) for kind, figures in found.unjudged.items()],
        picture(CHART, "Dice of every held-out film by source, beside the agreement of two annotators and the goal"),
        *_choice(preset, found.tried),
        "The held-out films of the served kind, spoilt before they are shown:",
        _spoilt_table(found.spoilt),
        f"The {WORST} worst of the served kind are on a contact sheet beside the report, which shows films and is not published.",
        "### Both lungs on frontal films",
        *_frontal(found),
        "### The input gate",
        *(_gate(found.gate) if found.gate else ["Too few films to fit a gate to, so none was asked."]),
    ]


def goals(found: Findings) -> list[Row]:
    """One row for each goal that there are films to judge by."""
    of_goal = [one for one in found.held if one.pair.source == GOAL_SOURCE]
    rows: list[tuple[str, object, bool]] = []
    if of_goal:
        mean = mean_of([one.dice for one in of_goal], [one.pair.patient for one in of_goal])
        rows.append((f"mean Dice on held-out {GOAL_SOURCE} films ≥ {DICE_GOAL}", mean, mean.value >= DICE_GOAL))
    two = both(together(found.frontal))
    rows.append((f"both lungs on frontal films ≥ {BOTH_GOAL:.0%}", two, two.share >= BOTH_GOAL))
    if found.gate:
        passed = found.gate.passed[AS_IT_IS]
        rows.append((f"held-out frontal films pass the gate ≥ {GATE_GOAL:.0%}", passed, passed.share >= GATE_GOAL))
        if judged := found.gate.oddities:
            fitting = sum(one.fits for one in judged)
            rows.append(("oddities answered or refused as expected", f"{fitting} of {len(judged)}", fitting == len(judged)))
    return [(wanted, figure, "reached" if reached else "not reached") for wanted, figure, reached in rows]


def by_source(held: Sequence[Overlap]) -> dict[str, list[Overlap]]:
    """Held-out films by the collection they are from, the largest first."""
    found: dict[str, list[Overlap]] = {}
    for one in held:
        found.setdefault(one.pair.source or "no source named", []).append(one)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def worst_sheet(held: Sequence[Overlap]) -> bytes:
    """PNG of the films with the lowest Dice, the worst first."""
    chosen, content = sorted(held, key=lambda one: one.dice)[:WORST], BytesIO()
    contact_sheet([Panel(one.film, one.found, one.drawn, f"{one.pair.source} Dice {one.dice:.3f}") for one in chosen], content, 5)
    return content.getvalue()


def _overlap_rows(found: Findings) -> list[Row]:
    rows = [
        _row(name, films[0].pair.definition, [(one.pair.patient, one.dice) for one in films])
        for name, films in by_source(found.held).items()
    ]
    return rows + ([_row("two annotators, all films that both drew", "", found.humans)] if found.humans else [])


def _row(name: str, definition: str, scored: Sequence[tuple[str, float]]) -> Row:
    patients, values = zip(*scored, strict=True)
    union = [value / (2 - value) for value in values]
    figures = (mean_of(values, patients), median_of(values, patients), f"{min(values):.3f}", mean_of(union, patients))
    return (name, definition, len(values), len(set(patients)), *figures)


def _beside_humans(found: Findings) -> list[str]:
    if not found.humans:
        return []
    twice = [(one.dice, one.humans) for one in found.held if one.humans is not None]
    told = f"Of the {len(found.humans)} films that two annotators drew, {len(twice)} were held out"
    if len(twice) < ENOUGH:
        return [f"{told}: too few to compare the U-Net with them on the same films."]
    ours, theirs = (fmean(values) for values in zip(*twice, strict=True))
    return [f"{told}. On these they agree by {theirs:.3f} in the mean, and the U-Net with the first by {ours:.3f}."]


def _unjudged(kind: str, figures: Mapping[str, float]) -> str:
    return (
        f"“{kind}” could not be judged film by film: the run of this U-Net was made before graphs were kept for what is not served. On its "
        f"{figures['films']:.0f} held-out films it recorded Dice {figures['mean']:.3f} in the mean, {figures['median']:.3f} in the median, "
        f"{figures['worst']:.3f} at worst; there are no intervals."
    )


def _spoilt_table(spoilt: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A row for each way to spoil a film, two columns for each preset."""
    first = next(iter(spoilt.values()))
    header = [name for preset in spoilt for name in (f"`{preset}`, mean Dice", "worst")]
    rows = [
        (kind, len(values), *(f"{of(each[kind]):.3f}" for each in spoilt.values() for of in (fmean, min)))
        for kind, values in first.items()
    ]
    return as_markdown(("film", "films", *header), rows)


def _choice(preset: str, tried: Sequence[Tried]) -> list[str]:
    """What else was trained on these pairs; nothing where that was nothing."""
    if len(tried) < 2:
        return []
    best = max(tried, key=lambda one: one.val).preset
    header = ("preset", "odd films in training", "validation Dice, best epoch", "held-out Dice, mean", "worst", "CPU seconds")
    rows = [(t.preset, f"{t.odd:.0%}", f"{t.val:.4f}", f"{t.test:.4f}", f"{t.worst:.3f}", f"{t.cpu_seconds:.0f}") for t in tried]
    return [
        f"Tried on these pairs, all sources of the served kind together. Odd films are shown inverted, turned, cut or as if taken in bed. "
        f"Best on the validation films: `{best}`; used here: `{preset}`.",
        as_markdown(header, rows),
    ]


def _frontal(found: Findings) -> tuple[str, ...]:
    every, verdicts = together(found.frontal), Counter(film.verdict or "not prepared" for film in together(found.frontal))
    rows = [
        (name, len(films), both(films), both(apart) if (apart := unseen(films)) else "–")
        for name, films in {**found.frontal, "all": every}.items()
    ]
    return (
        as_markdown(("source", "films", "both lungs found", "of patients that the U-Net has not seen"), rows),
        f"All films: {', '.join(f'{name} {n}' for name, n in sorted(verdicts.items()))}. A radiograph may be in several sources.",
    )


def _gate(gate: GateFound) -> list[str]:
    frontal = gate.passed[AS_IT_IS]
    spoilt = refused(gate.passed)
    said = [(kind, _refused(answers), _answers(answers)) for kind, answers in gate.others.items()]
    told = [
        "Gates fitted to four fifths of the patients, asked about the last fifth; a film on which no lungs are found counts as refused.",
        as_markdown(("film", "passes"), [("frontal, as it is", frontal)]),
        as_markdown(("spoilt film", "refused"), [*spoilt.items(), ("all of them", every(spoilt.values()))]),
        "The gate fitted to all patients but those of the oddities, and the reader before it, asked about what is no frontal film:",
        as_markdown(("picture", "refused", "what was said"), said),
    ]
    if gate.oddities:
        rows = [(one.oddity.file, one.oddity.expected, one.said, "yes" if one.fits else "no") for one in gate.oddities]
        told += ["### Oddities", RULE, as_markdown(("file", "expected", "said", "as expected"), rows)]
    return told


def _refused(answers: Sequence[Said]) -> Rate:
    return Rate(sum(not answer.answered for answer in answers), len(answers))


def _answers(answers: Sequence[Said]) -> str:
    counts: Mapping[str, int] = {text: sum(str(a) == text for a in answers) for text in dict.fromkeys(map(str, answers))}
    return ", ".join(f"{text} ({n})" for text, n in counts.items())
