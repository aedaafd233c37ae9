"""POST /predict: one film in, one answer out."""

from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request

from cxr.bundle import Bundle, Prediction
from cxr.reading import Limits
from serving.answers import NOTICE, PredictionAnswer, Timings, answer
from serving.routes.documented import problems
from serving.routes.model import model_id
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
_EXAMPLE = {
    "prognosis": {
        "label": "SEVERE",
        "probability": 0.81,
        "probabilities": {"MILD": 0.19, "SEVERE": 0.81},
        "meaning": "non-invasive ventilation, intensive care or death",
    },
    "severity": {
        "label": "2",
        "probability": 0.6,
        "probabilities": {"0": 0.05, "1": 0.15, "2": 0.6, "3": 0.2},
        "meaning": "Brixia global score 9-13",
        "category": 2,
        "brixia_range": [9, 13],
    },
    "lungs": {"verdict": "both-lungs", "box": [312, 198, 2290, 2176], "coverage": 0.31, "film_size": [2544, 3056]},
    "film": {"source": "dicom", "steps": ["MONOCHROME1 inverted"], "digest": "9f2c…"},
    "model": {"name": "mdmt", "version": "3", "alias": "champion", "digest": "41ab…", "pipeline_digest": "77d0…"},
    "warnings": [],
    "request_id": "5b0c7b8e-0f6a-4b86-9a38-2d2f0a4f3c11",
    "timings_ms": {"read_body": 3.1, "prepare": 21.4, "network": 30.2, "total": 55.0},
    "notice": NOTICE,
}


@router.post(
    "/predict",
    summary="Prognosis and severity of one chest X-ray",
    response_model=PredictionAnswer,
    openapi_extra={"requestBody": _BODY},
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}, **problems(408, 413, 415, 422, 500, 503)},
)
async def predict(request: Request) -> PredictionAnswer:
    """The type of the file is judged by its content; one film per request. Equal bytes get equal answers from one version."""
    state, started = request.app.state, perf_counter()
    loaded = request.state.loaded = state.readiness.current()
    with state.admission.place() as place:
        data = await read_upload(request, state.settings, place)
        read = perf_counter()
        limits = Limits(max_bytes=state.settings.max_bytes, max_pixels=state.settings.max_pixels)
        prediction, prepare, network = await state.admission.compute(lambda: _timed(loaded.bundle, data, limits))
    timings = _milliseconds(read_body=read - started, prepare=prepare, network=network, total=perf_counter() - started)
    state.metrics.count(prediction, timings)
    return answer(prediction, loaded.bundle, model_id(loaded), request.state.request_id, timings)


def _timed(bundle: Bundle, data: bytes, limits: Limits) -> tuple[Prediction, float, float]:
    """The prediction and the seconds that preparing the film and the network took."""
    started = perf_counter()
    film = bundle.prepare(data, limits)
    prepared = perf_counter()
    prediction = bundle.predict_film(film)
    return prediction, prepared - started, perf_counter() - prepared


def _milliseconds(**seconds: float) -> Timings:
    return Timings(**{stage: round(value * 1000, 3) for stage, value in seconds.items()})
