"""One film's bytes → its answer, computed on a worker thread: what every route that answers films calls."""

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from fastapi import Request

from cxr.bundle import Bundle
from cxr.decoding import NurseryGone
from cxr.errors import FilmError
from cxr.prediction import Prediction
from cxr.reading import Limits
from serving.answers import PredictionAnswer, Timings, answer
from serving.errors import ProblemError
from serving.readiness import LoadedBundle

T = TypeVar("T")


def explainable(loaded: LoadedBundle) -> None:
    """Raises ProblemError `no-evidence` where the version cannot show where it saw its answers."""
    if not loaded.bundle.engine.explains:
        raise ProblemError(
            "no-evidence",
            f"Version {loaded.version} was registered before networks exported their evidence. Ask without `explain`, or register it "
            "again with `mdmt register`.",
        )


async def answered(
    request: Request, loaded: LoadedBundle, data: bytes, read_body: float, explain: bool = False
) -> PredictionAnswer:
    """A film's answer as JSON says it. Raises as `finished` does."""
    request_id = request.state.request_id
    return await finished(request, loaded, data, read_body, lambda p, timings: answer(p, loaded, request_id, timings), explain)


async def finished(
    request: Request,
    loaded: LoadedBundle,
    data: bytes,
    read_body: float,
    finish: Callable[[Prediction, Timings], T],
    explain: bool = False,
) -> T:
    """Prepare, predict and `finish` on one worker thread, counted and audited: what `finish` made of the prediction.

    All of it is done there: what the event loop computes, every other request waits for. `read_body`: seconds since the request
    began. Raises FilmError, and ProblemError `busy`.
    """
    state, started = request.app.state, perf_counter()

    def work(alone: bool) -> T:
        bundle = loaded.bundle.alone if alone else loaded.bundle
        try:
            prediction, seconds = predicted(bundle, data, state.settings.limits, explain)
            timings = Timings.of(read_body=read_body, total=read_body + perf_counter() - started, **seconds)
            made = finish(prediction, timings)
        except (FilmError, ProblemError, NurseryGone):
            raise
        except Exception:
            request.state.version_failed = True  # `Readiness` counts it, and no other failure
            raise
        state.metrics.count(prediction, timings)
        state.drift.add(loaded.bundle, prediction)
        _audit(request, loaded, state.audit.film(data), prediction, timings)
        return made

    return await state.admission.compute(work)  # type: ignore[no-any-return]  # Starlette does not know what its state holds


def predicted(bundle: Bundle, data: bytes, limits: Limits, explain: bool = False) -> tuple[Prediction, dict[str, float]]:
    """The prediction, and the seconds of its stages as `Timings` calls them. Raises FilmError."""
    started = perf_counter()
    film = bundle.prepare(data, limits)
    prepared = perf_counter()
    prediction = bundle.predict_film(film, explain)
    return prediction, {"prepare": prepared - started, "network": perf_counter() - prepared}


def _audit(request: Request, loaded: LoadedBundle, film: str, prediction: Prediction, timings: Timings) -> None:
    request.app.state.audit.record(
        request_id=request.state.request_id,
        key=getattr(request.state, "key", None),
        film=film,
        model=loaded.name,
        version=loaded.version,
        digest=loaded.bundle.digest,
        answers={
            task: {"label": given.label, "probability": round(given.probabilities[given.index], 6), "set": given.candidates}
            for task, given in prediction.answers.items()
        },
        ms=timings.total,
    )
