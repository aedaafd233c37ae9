"""The Open Inference Protocol v2 (github.com/kserve/open-inference-protocol) over the same engine, for clients that speak it.

One input, `film`: BYTES of files, base64 in JSON. Per task two outputs: its calibrated probabilities, and `<task>_label`.
A request that holds one film that cannot be answered is refused as a whole: the protocol has one error per request.
"""

import base64
import binascii
from time import perf_counter
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr.prediction import TaskAnswer
from serving.answering import finished
from serving.answers import NOTICE
from serving.authorization import charge
from serving.errors import ProblemError
from serving.readiness import LoadedBundle
from serving.routes.documented import body_schema, problems
from serving.routes.health import ready_for_more
from serving.settings import Settings
from serving.uploads import read_json

router = APIRouter(prefix="/v2", tags=["open inference protocol v2"])
INPUT, LABEL = "film", "_label"


class Tensor(BaseModel):
    """Row-major values; BYTES are strings, those of the input base64."""

    name: str
    shape: list[int]
    datatype: Literal["BYTES", "FP64"]
    data: list[Any]
    parameters: dict[str, Any] | None = None


class Asked(BaseModel):
    """An output by name; without any, all are answered."""

    model_config = ConfigDict(extra="ignore")
    name: str


class InferenceRequest(BaseModel):
    """What `infer` takes."""

    model_config = ConfigDict(extra="ignore")
    id: str | None = Field(None, max_length=200)
    inputs: list[Tensor] = Field(min_length=1, max_length=1)
    outputs: list[Asked] | None = None


class InferenceAnswer(BaseModel):
    """What `infer` answers."""

    model_name: str
    model_version: str
    id: str | None
    parameters: dict[str, str]
    outputs: list[Tensor]


class TensorKind(BaseModel):
    """A tensor without its values; −1 is any number of films."""

    name: str
    datatype: Literal["BYTES", "FP64"]
    shape: list[int]


class ModelMetadata(BaseModel):
    """What the model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorKind]
    outputs: list[TensorKind]


@router.get("", summary="The server")
async def server() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "mdmt", "version": "1", "extensions": []}


@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, bool]:
    """As /livez."""
    return {"live": True}


@router.get("/health/ready", summary="Does a bundle answer?", responses=problems(503))
async def ready(request: Request) -> dict[str, bool]:
    """As /readyz."""
    ready_for_more(request)
    return {"ready": True}


@router.get("/models/{name}/ready", summary="Does this model answer?", responses=problems(404, 503))
async def model_ready(request: Request, name: str) -> dict[str, Any]:
    """The one model that is served is ready, any other is not known."""
    ready_for_more(request)
    return {"name": _named(request, name).name, "ready": True}


@router.get("/models/{name}", summary="What the model takes and gives", responses=problems(404, 503))
async def metadata(request: Request, name: str) -> ModelMetadata:
    """One input of films, two outputs per task."""
    loaded = request.state.loaded = _named(request, name)
    kinds = [TensorKind(name=one, datatype=kind, shape=shape) for one, kind, shape in _outputs(loaded)]
    return ModelMetadata(
        name=loaded.name,
        versions=[loaded.version],
        platform="onnx",
        inputs=[TensorKind(name=INPUT, datatype="BYTES", shape=[-1])],
        outputs=kinds,
    )


# A film of one gray: it is read, and refused as no chest. An example that runs may hold nobody's film.
_BLANK = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAALElEQVR42u3MMREAAAgEoNeY9g9iCDcPAlCTm45AIBAIBAKBQCAQ"
    "CASC58EC1u0A2qVz2eUAAAAASUVORK5CYII="
)
_EXAMPLE = {"inputs": [{"name": INPUT, "shape": [1], "datatype": "BYTES", "data": [_BLANK]}]}


@router.post(
    "/models/{name}/infer",
    summary="Answer films",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body_schema(InferenceRequest), "example": _EXAMPLE}},
        }
    },
    responses=problems(404, 408, 413, 415, 422, 500, 503),
)
async def infer(request: Request, name: str) -> InferenceAnswer:
    """Films as base64 strings of their files (PNG, JPEG or DICOM): answers row by row."""
    state, started = request.app.state, perf_counter()
    loaded = request.state.loaded = _named(request, name)
    with state.admission.place(request.state.client) as place:
        asked = _parsed(await read_json(request, state.settings, place))
        films = _films(asked.inputs[0], state.settings)
        wanted = _wanted(asked, loaded)
        charge(request, len(films))
        read = perf_counter() - started
        rows = [await finished(request, loaded, film, read, lambda prediction, _: prediction.answers) for film in films]
    return InferenceAnswer(
        model_name=loaded.name,
        model_version=loaded.version,
        id=asked.id,
        parameters={"notice": NOTICE, "bundle": loaded.bundle.digest},
        outputs=[_tensor(output, rows, loaded) for output in wanted],
    )


def _named(request: Request, name: str) -> LoadedBundle:
    loaded: LoadedBundle = request.app.state.readiness.current()
    if name != loaded.name:
        raise ProblemError("not-found", f"No model of that name is served; the one that is: {loaded.name}.")
    return loaded


def _parsed(body: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate_json(body)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"] if part in InferenceRequest.model_fields) or "the body"
        raise ProblemError(
            "invalid-request", f"Not an inference request of the protocol: see {where} in /openapi.json."
        ) from error


def _films(tensor: Tensor, settings: Settings) -> list[bytes]:
    count = len(tensor.data)
    if (tensor.name, tensor.datatype) != (INPUT, "BYTES") or tensor.shape not in ([count], [count, 1]):
        raise ProblemError("invalid-request", f"Send one input `{INPUT}` of BYTES with shape [n] and n base64 strings.")
    if not 1 <= count <= settings.batch_films:
        raise ProblemError("invalid-request", f"{count} films; allowed: 1 to {settings.batch_films} per request.")
    try:
        return [base64.b64decode(value, validate=True) for value in tensor.data]
    except (binascii.Error, TypeError, ValueError) as error:
        raise ProblemError("invalid-request", "A film is not base64. Send the bytes of its file so encoded.") from error


def _wanted(asked: InferenceRequest, loaded: LoadedBundle) -> list[str]:
    known = [name for name, _, _ in _outputs(loaded)]
    wanted = known if asked.outputs is None else [output.name for output in asked.outputs]
    if not set(wanted) <= set(known):
        raise ProblemError("invalid-request", f"An output is not known; allowed: {', '.join(known)}.")
    return wanted


def _outputs(loaded: LoadedBundle) -> list[tuple[str, Literal["BYTES", "FP64"], list[int]]]:
    found: list[tuple[str, Literal["BYTES", "FP64"], list[int]]] = []
    for task in loaded.bundle.tasks:
        found += [(task.name, "FP64", [-1, len(task.classes)]), (task.name + LABEL, "BYTES", [-1])]
    return found


def _tensor(output: str, rows: list[dict[str, TaskAnswer]], loaded: LoadedBundle) -> Tensor:
    task = next(task for task in loaded.bundle.tasks if output in (task.name, task.name + LABEL))
    given = [answers[task.name] for answers in rows]
    if output != task.name:
        return Tensor(name=output, shape=[len(rows)], datatype="BYTES", data=[answer.label for answer in given])
    flat = [probability for answer in given for probability in answer.probabilities]
    return Tensor(name=output, shape=[len(rows), len(task.classes)], datatype="FP64", data=flat)
