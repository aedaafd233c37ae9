"""POST /predict: one film in, one answer out: as JSON, as a picture, or as a DICOM report."""

from time import perf_counter
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Response

from cxr.prediction import Prediction
from cxr.tasks import Task
from serving.answering import explainable, finished
from serving.answers import NOTICE, PredictionAnswer, Timings, answer
from serving.errors import ProblemError
from serving.overlay import OPACITY, draw, shown
from serving.readiness import LoadedBundle
from serving.representations import JSON, PNG, REPORT, acceptable
from serving.routes.documented import problems
from serving.uploads import FIELD, FORM, RAW_TYPES, read_upload

router = APIRouter(tags=["predictions"])

_FILE = {"type": "string", "format": "binary", "description": "one frontal chest X-ray: PNG, JPEG or DICOM"}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        FORM: {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _FILE}}},
        **{media_type: {"schema": _FILE} for media_type in RAW_TYPES},
    },
}
_FILE_OUT = {"type": "string", "format": "binary"}
_EXAMPLE = {
    "prognosis": {
        "label": "SEVERE",
        "probability": 0.81,
        "probabilities": {"MILD": 0.19, "SEVERE": 0.81},
        "meaning": "non-invasive ventilation, intensive care or death",
        "conformal": {"classes": ["SEVERE"], "coverage": 0.9, "abstain": None},
    },
    "severity": {
        "label": "2",
        "probability": 0.6,
        "probabilities": {"0": 0.05, "1": 0.15, "2": 0.6, "3": 0.2},
        "meaning": "Brixia global score 9-13",
        "conformal": {
            "classes": ["2", "3"],
            "coverage": 0.9,
            "abstain": "The film may be of 2 classes, and no fewer hold the promised coverage.",
        },
        "category": 2,
        "brixia_range": [9, 13],
    },
    "lungs": {
        "verdict": "both-lungs",
        "box": [312, 198, 2290, 2176],
        "coverage": 0.31,
        "film_size": [2544, 3056],
        "precision": "float32",
    },
    "film": {"source": "dicom", "steps": ["MONOCHROME1 inverted"], "digest": "9f2c…", "gate_score": 0.93},
    "model": {"name": "mdmt", "version": "3", "alias": "champion", "digest": "41ab…", "pipeline_digest": "77d0…"},
    "quality": [],
    "warnings": [],
    "evidence": None,
    "request_id": "5b0c7b8e-0f6a-4b86-9a38-2d2f0a4f3c11",
    "timings_ms": {"read_body": 3.1, "prepare": 21.4, "network": 30.2, "total": 55.0},
    "notice": NOTICE,
}


@router.post(
    "/predict",
    summary="Prognosis and severity of one chest X-ray",
    response_model=PredictionAnswer,
    openapi_extra={"requestBody": _BODY},
    responses={
        200: {
            "description": "the answer in the form that `Accept` asks for",
            "content": {JSON: {"example": _EXAMPLE}, PNG: {"schema": _FILE_OUT}, REPORT: {"schema": _FILE_OUT}},
        },
        **problems(406, 408, 409, 413, 415, 422, 500, 503),
    },
)
async def predict(
    request: Request,
    explain: Annotated[bool, Query(description="add where each answer was seen; a picture always shows it")] = False,
    task: Annotated[str | None, Query(description="whose evidence a picture shows; default: the first task")] = None,
    evidence: Annotated[
        Literal["worse", "label"] | None,
        Query(description="what a picture shows: what speaks for a worse class, or for the label"),
    ] = None,
    opacity: Annotated[float, Query(ge=0, le=1, description="of the heat in a picture")] = OPACITY,
) -> Response:
    """The type of the file is judged by its content; one film per request. Equal bytes get equal answers from one version.

    `Accept: image/png` answers the film with box, lungs and heat at its own size; `Accept: application/dicom` answers a DICOM film with
    a structured report (TID 1500). A film that the best form cannot be given of is answered in the next that `Accept` has.
    """
    state, started = request.app.state, perf_counter()
    loaded = request.state.loaded = state.readiness.current()
    forms = acceptable(request.headers.get("accept", ""))
    if explain or forms[0] == PNG:
        explainable(loaded)
    drawn = shown(loaded.bundle, task, evidence)
    with state.admission.place(request.state.client) as place:
        data = await read_upload(request, state.settings, place)
        asked = _Asked(request, loaded, data, perf_counter() - started, explain)
        for form in forms[:-1]:
            try:
                return await _answered(asked, form, drawn, opacity)
            except ProblemError as error:
                if error.code != "not-acceptable":
                    raise
        return await _answered(asked, forms[-1], drawn, opacity)


class _Asked(NamedTuple):
    """A film, and for whom it is answered by what."""

    request: Request
    loaded: LoadedBundle
    data: bytes
    read: float  # seconds
    explain: bool


async def _answered(asked: _Asked, form: str, drawn: tuple[Task, str], opacity: float) -> Response:
    """The film's answer in one form. Raises ProblemError `not-acceptable` where there is no such form of it."""
    request, loaded, data, read, explain = asked
    if form == PNG:
        explainable(loaded)
        picture = await finished(request, loaded, data, read, lambda p, _: draw(p, loaded.bundle, *drawn, opacity), True)
        return Response(picture, media_type=PNG)
    if form == REPORT:
        from serving.structured_report import structured_report  # with pydicom, which is read beside the loading of a version

        report = await finished(request, loaded, data, read, lambda p, _: structured_report(data, p, loaded))
        return Response(report, media_type=REPORT)

    def written(prediction: Prediction, timings: Timings) -> str:
        return answer(prediction, loaded, request.state.request_id, timings).model_dump_json()

    return Response(await finished(request, loaded, data, read, written, explain), media_type=JSON)
