"""What is found out about lungs and the input gate on real films: measured here, said in `lungs`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxr.segmentation import OnnxSegmenter, Segmenter
from training.data.lung_pairs import read_pairs
from training.evidence.gate_cases import Said, Shown, as_fitted, of_cohorts, other_pictures, outcome
from training.evidence.gate_rates import held_out, without
from training.evidence.lung_frontal import Looked, of_cohort, of_pairs
from training.evidence.lung_overlap import Overlap, of_humans, on_spoilt, overlaps
from training.evidence.oddities import Judged, ask, patients_of
from training.evidence.rates import Rate
from training.input_gate import is_enough
from training.protocol import lung_record, lung_unet
from training.protocol.lung_record import Tried
from training.protocol.study import Study, View

MOST = 400  # films of each cohort that the gate is shown
# What a refusal is wanted for, by a word of the oddity's kind.
OTHERS = {"CT": "CT", "lateral film": "lateral", "photograph": "photograph"}


@dataclass(frozen=True)
class GateFound:
    """What gates let through: `passed` by kind of picture, of patients they had not seen; `others` is what was said to pictures that
    are no frontal film, by kind; `oddities` in the order of their table."""

    passed: Mapping[str, Rate]
    others: Mapping[str, Sequence[Said]]
    oddities: Sequence[Judged]


@dataclass(frozen=True)
class Findings:
    """`held` are the overlaps of the held-out pairs, `served` the kind of lung that is served, `unjudged` kinds without a graph, with what
    the run recorded of them. `humans` is (patient, Dice) of two annotators. `spoilt` holds, by preset of the U-Net, the Dice of served
    held-out pairs by what was done to the film; the first preset is the recipe's. `frontal` holds the frontal films by source.
    `gate` None: too few films."""

    served: str
    held: Sequence[Overlap]
    unjudged: Mapping[str, Mapping[str, float]]
    humans: Sequence[tuple[str, float]]
    spoilt: Mapping[str, Mapping[str, Sequence[float]]]
    frontal: Mapping[str, Sequence[Looked]]
    tried: Sequence[Tried]
    gate: GateFound | None


def find(study: Study, view: View) -> Findings:
    """All of it; the U-Net is trained and the films are prepared if they were not."""
    choice, spec = study.recipe.segmenter, study.recipe.pipeline
    folder, graph, stores = study.data / choice.pairs, study.segmenter(view), study.films(view)
    pairs, apart = read_pairs(folder), lung_unet.held_out(folder, choice.preset)
    served, segmenters = lung_unet.PRESETS[choice.preset]().definition, {}
    for definition in sorted({pair.definition for pair in apart}):
        of_kind = graph if definition == served else lung_record.graph_of(definition, folder, choice.preset, study.tracking)
        if of_kind is not None:
            segmenters[definition] = OnnxSegmenter.from_file(of_kind)
    held = overlaps(apart, segmenters, spec.threshold)
    seen = {pair.patient for pair in pairs} - {pair.patient for pair in apart}
    tried = lung_record.tried(folder, study.tracking)
    return Findings(
        served=served,
        held=held,
        unjudged={
            kind: lung_record.recorded(kind, folder, choice.preset, study.tracking)
            for kind in sorted({pair.definition for pair in apart} - segmenters.keys())
        },
        humans=of_humans(pairs),
        spoilt={
            preset: on_spoilt([one for one in held if one.pair.definition == served], unet, spec.threshold)
            for preset, unet in {choice.preset: segmenters[served], **_others(study, tried)}.items()
        },
        frontal={cohort.name: of_cohort(cohort, stores[cohort.name], seen) for cohort in study.cohorts}
        | of_pairs(pairs, spec, segmenters[served], seen),
        tried=tried,
        gate=_gate(study, segmenters[served], view),
    )


def _others(study: Study, tried: Sequence[Tried]) -> dict[str, Segmenter]:
    """By preset: the other U-Nets that were tried and have the same films held out."""
    choice, folder = study.recipe.segmenter, study.data / study.recipe.segmenter.pairs
    found: dict[str, Segmenter] = {}
    for preset in [one.preset for one in tried if one.preset != choice.preset]:
        unet = lung_unet.find_segmenter(folder, preset, study.tracking)
        if unet and lung_unet.held_out(folder, preset) == lung_unet.held_out(folder, choice.preset):
            found[preset] = OnnxSegmenter.from_file(unet.graph)
    return found


def _gate(study: Study, segmenter: Segmenter, view: View) -> GateFound | None:
    spec, folder = study.recipe.pipeline, study.data / "oddities"
    shown: list[Shown] = []
    total = sum(min(MOST, len(cohort.rows)) for cohort in study.cohorts)
    for one in of_cohorts(study.cohorts, spec, segmenter, MOST):
        shown.append(one)
        view.stage("films shown to the gate", len(shown), total)
    known = patients_of(folder)
    if not is_enough([film for film in as_fitted(shown) if film.patient not in known]):
        return None
    gate = without(shown, known)
    judged = ask(folder, spec, segmenter, gate)
    said = {name: outcome(content, spec, segmenter, gate) for name, content in other_pictures().items()}
    others = {
        kind: [one.said for one in judged if word in one.oddity.kind and "accept" not in one.oddity.expected.lower()]
        for kind, word in OTHERS.items()
    }
    others["photograph"] += [answer for name, answer in said.items() if name.startswith("photograph")]
    others["pattern"] = [answer for name, answer in said.items() if name.startswith("pattern")]
    return GateFound(held_out(shown), {kind: answers for kind, answers in others.items() if answers}, judged)
