"""POST /predict/batch: several films in, as many answers or refusals out, in their order."""

from time import perf_counter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from cxr.errors import FilmError
from serving.answering import answered, explainable
from serving.answers import NOTICE, PredictionAnswer
from serving.authorization import charge
from serving.errors import PROBLEMS, ProblemError, film_refusal
from serving.readiness import LoadedBundle
from serving.routes.documented import problems
from serving.uploads import FIELD, FORM, read_batch

router = APIRouter(tags=["predictions"])

_FILMS = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {FORM: {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _FILMS}}}},
}


class Refusal(BaseModel):
    """Why one film was refused, as `POST /predict` would have said it."""

    type: str
    title: str
    status: int
    detail: str
    advice: str | None = None


class BatchEntry(BaseModel):
    """One film, by its place in the form (from 0): an answer or a problem."""

    index: int = Field(ge=0)
    answer: PredictionAnswer | None = None
    problem: Refusal | None = None


class BatchAnswer(BaseModel):
    """As many entries as films, in the order of the form."""

    results: list[BatchEntry]
    answered: int
    refused: int
    request_id: str
    notice: str = NOTICE


@router.post(
    "/predict/batch",
    summary="Prognosis and severity of several chest X-rays",
    openapi_extra={"requestBody": _BODY},
    responses=problems(408, 409, 413, 415, 422, 500, 503),
)
async def predict_batch(
    request: Request, explain: Annotated[bool, Query(description="add where each answer was seen")] = False
) -> BatchAnswer:
    """One part named `file` per film. A film that is refused does not touch its neighbours; 200 says that each got its own verdict.

    The films of a batch are computed one after another, so that a batch takes no more of the service than one caller should.
    """
    state, started = request.app.state, perf_counter()
    loaded = request.state.loaded = state.readiness.current()
    if explain:
        explainable(loaded)
    with state.admission.place(request.state.client) as place:
        films = await read_batch(request, state.settings, place)
        charge(request, len(films))
        read = perf_counter() - started
        results = [await _entry(request, loaded, i, film, read, explain) for i, film in enumerate(films)]
    refused = sum(entry.problem is not None for entry in results)
    return BatchAnswer(results=results, answered=len(results) - refused, refused=refused, request_id=request.state.request_id)


async def _entry(request: Request, loaded: LoadedBundle, index: int, data: bytes, read: float, explain: bool) -> BatchEntry:
    try:
        found = await answered(request, loaded, data, read, explain)
    except FilmError as error:
        request.app.state.metrics.film_errors.labels(error.code).inc()
        return BatchEntry(index=index, problem=_refusal(error.code, **film_refusal(error)))
    except ProblemError as error:
        return BatchEntry(index=index, problem=_refusal(error.code, detail=error.detail))
    return BatchEntry(index=index, answer=found)


def _refusal(code: str, **said: Any) -> Refusal:
    status, title = PROBLEMS[code]
    return Refusal(type=f"/problems/{code}", title=title, status=status, **said)
