"""One film's bytes → its answer, computed on a worker thread: what every route that answers films calls."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from fastapi import Request

from cxr.bundle import Bundle, Prediction
from cxr.reading import Limits
from serving.answers import PredictionAnswer, Timings, answer
from serving.errors import ProblemError
from serving.readiness import LoadedBundle
from serving.routes.model import model_id
from serving.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Answered(Generic[T]):
    """A film's answer, and what `finish` made of its prediction."""

    answer: PredictionAnswer
    finished: T


def explainable(loaded: LoadedBundle) -> None:
    """Raises ProblemError `no-evidence` where the version cannot show where it saw its answers."""
    if not loaded.bundle.engine.explains:
        raise ProblemError(
            "no-evidence",
            f"Version {loaded.version} was registered before networks exported their evidence. Ask without `explain`, or register it "
            "again with `mdmt register`.",
        )


async def answered(
    request: Request,
    loaded: LoadedBundle,
    data: bytes,
    read_body: float,
    finish: Callable[[Prediction], T],
    explain: bool = False,
) -> Answered[T]:
    """Prepare, predict and `finish` on one worker thread; counted in the metrics. `read_body`: seconds since the request began.

    Raises FilmError, and ProblemError `busy`.
    """
    state, started = request.app.state, perf_counter()
    prediction, prepare, network, finished = await state.admission.compute(
        lambda alone: _computed(loaded.bundle.alone if alone else loaded.bundle, data, limits_of(state.settings), finish, explain)
    )
    total = read_body + perf_counter() - started
    timings = _milliseconds(read_body=read_body, prepare=prepare, network=network, total=total)
    state.metrics.count(prediction, timings)
    state.drift.add(loaded.bundle, prediction)
    _audit(request, loaded, data, prediction, timings)
    return Answered(answer(prediction, loaded.bundle, model_id(loaded), request.state.request_id, timings), finished)


def _audit(request: Request, loaded: LoadedBundle, data: bytes, prediction: Prediction, timings: Timings) -> None:
    audit = request.app.state.audit
    audit.record(
        request_id=request.state.request_id,
        key=getattr(request.state, "key", None),
        film=audit.film(data),
        model=loaded.name,
        version=loaded.version,
        digest=loaded.bundle.digest,
        answers={
            task: {"label": given.label, "probability": round(given.probabilities[given.index], 6), "set": given.candidates}
            for task, given in prediction.answers.items()
        },
        ms=timings.total,
    )


def limits_of(settings: Settings) -> Limits:
    """The bounds of one film."""
    return Limits(max_bytes=settings.max_bytes, max_pixels=settings.max_pixels)


def _computed(
    bundle: Bundle, data: bytes, limits: Limits, finish: Callable[[Prediction], T], explain: bool
) -> tuple[Prediction, float, float, T]:
    """The prediction, the seconds that preparing the film and the network took, and what `finish` made."""
    started = perf_counter()
    film = bundle.prepare(data, limits)
    prepared = perf_counter()
    prediction = bundle.predict_film(film, explain)
    return prediction, prepared - started, perf_counter() - prepared, finish(prediction)


def _milliseconds(**seconds: float) -> Timings:
    return Timings(**{stage: round(value * 1000, 3) for stage, value in seconds.items()})
