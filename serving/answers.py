"""What the service answers, as values that document themselves in OpenAPI; built from the bundle's tasks."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from cxr.bundle import Bundle, Prediction, TaskAnswer
from cxr.segmentation import Verdict
from cxr.tasks import Task

NOTICE = "Research use only, not a medical device."
ONE_LUNG = "Only one lung was found. The answer rests on it alone: check that the film shows the whole chest."
# How the score behind an ordinal task is called in the answer; a further task with ranges says plainly `range`.
RANGE_FIELDS = {"severity": "brixia_range"}


class TaskResult(BaseModel):
    """The answer to one task. Classes that are ranges of a score also have `category` (from 0) and the range."""

    model_config = ConfigDict(extra="allow")
    label: str = Field(description="most probable class")
    probability: float = Field(ge=0, le=1, description="calibrated probability of `label`")
    probabilities: dict[str, float] = Field(description="calibrated probability of each class; they sum to 1")
    meaning: str = Field(description="what `label` says, in words")


class Lungs(BaseModel):
    """What the segmentation found, in pixels of the film as sent."""

    verdict: Verdict
    box: tuple[int, int, int, int] = Field(description="[left, top, right, bottom] of the crop; may reach over the film's edge")
    coverage: float = Field(ge=0, le=1, description="share of the film that the lungs take")
    film_size: tuple[int, int] = Field(description="[width, height] of the film as sent")


class FilmTrace(BaseModel):
    """How the network's input came about; equal digests mean equal input, in training as here."""

    source: str
    steps: list[str]
    digest: str = Field(description="SHA-256 of the prepared film")


class ModelId(BaseModel):
    """Which bundle answered."""

    name: str
    version: str
    alias: str
    digest: str = Field(description="SHA-256 of the bundle's manifest")
    pipeline_digest: str


class Timings(BaseModel):
    """Milliseconds; `total` also holds the time spent waiting for a worker."""

    read_body: float
    prepare: float
    network: float
    total: float


class PredictionAnswer(BaseModel):
    """One field per task of the bundle (`prognosis`, `severity`, …) beside the fields named here."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TaskResult]
    lungs: Lungs
    film: FilmTrace
    model: ModelId
    warnings: list[str]
    request_id: str
    timings_ms: Timings
    notice: str = NOTICE

    @model_serializer(mode="wrap")
    def _answers_first(self, serialise: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # a type would replace the schema
        fields = serialise(self)
        tasks = self.__pydantic_extra__ or {}
        return {name: fields[name] for name in (*tasks, *fields)}


def answer(prediction: Prediction, bundle: Bundle, model: ModelId, request_id: str, timings: Timings) -> PredictionAnswer:
    """A prediction with everything needed to reproduce it."""
    film = prediction.film
    height, width = film.shape
    results: dict[str, Any] = {task.name: task_result(task, prediction.answers[task.name]) for task in bundle.tasks}
    return PredictionAnswer(
        **results,
        lungs=Lungs(verdict=film.verdict, box=film.box, coverage=film.coverage, film_size=(width, height)),
        film=FilmTrace(source=film.source, steps=list(film.steps), digest=film.digest),
        model=model,
        warnings=[ONE_LUNG] if film.verdict is Verdict.ONE_LUNG else [],
        request_id=request_id,
        timings_ms=timings,
    )


def task_result(task: Task, given: TaskAnswer) -> TaskResult:
    """One task's answer in words."""
    ordinal: dict[str, Any] = {}
    if task.ranges:
        ordinal = {"category": given.index, RANGE_FIELDS.get(task.name, "range"): list(task.ranges[given.index])}
    return TaskResult(
        label=given.label,
        probability=given.probabilities[given.index],
        probabilities=dict(zip(task.classes, given.probabilities, strict=True)),
        meaning=task.meaning[given.index],
        **ordinal,
    )
