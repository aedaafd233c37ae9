"""What is found out about lungs and the input gate on real films: measured here, said in `lungs`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cxr.segmentation import OnnxSegmenter, Segmenter, Verdict
from training.data.films import FilmStore
from training.data.lung_pairs import read_pairs
from training.evidence.gate_cases import Said, Shown, as_fitted, of_cohorts, other_pictures, outcome
from training.evidence.gate_rates import held_out, without
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
    the run recorded of them. `humans` is (patient, Dice) of two annotators; `spoilt` the Dice of served held-out pairs by what was done
    to the film. `verdicts` counts the frontal films; on `both` of them two lungs were found, `both_unseen` is that of patients the U-Net
    has not seen (None where there are none). `gate` None: too few films."""

    served: str
    held: Sequence[Overlap]
    unjudged: Mapping[str, Mapping[str, float]]
    humans: Sequence[tuple[str, float]]
    spoilt: Mapping[str, Sequence[float]]
    verdicts: Mapping[str, int]
    both: Rate
    both_unseen: Rate | None
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
    both, both_unseen, verdicts = _frontal(study, stores, seen)
    return Findings(
        served=served,
        held=held,
        unjudged={
            kind: lung_record.recorded(kind, folder, choice.preset, study.tracking)
            for kind in sorted({pair.definition for pair in apart} - segmenters.keys())
        },
        humans=of_humans(pairs),
        spoilt=on_spoilt([one for one in held if one.pair.definition == served], segmenters[served], spec.threshold),
        verdicts=verdicts,
        both=both,
        both_unseen=both_unseen,
        tried=lung_record.tried(folder, study.tracking),
        gate=_gate(study, segmenters[served], view),
    )


def _frontal(study: Study, stores: Mapping[str, FilmStore], seen: set[str]) -> tuple[Rate, Rate | None, dict[str, int]]:
    """Both lungs found: of all films, of those of patients not among `seen` (None where there are none); and films by verdict."""
    whole, unseen, verdicts = [], [], Counter[str]()
    for cohort in study.cohorts:
        verdicts.update(stores[cohort.name].verdicts())
        for row in cohort.rows:
            found = stores[cohort.name].entries[row.id].get("verdict") == Verdict.BOTH_LUNGS
            whole.append(found)
            if row.patient not in seen:
                unseen.append(found)
    return Rate(sum(whole), len(whole)), Rate(sum(unseen), len(unseen)) if unseen else None, dict(verdicts)


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
