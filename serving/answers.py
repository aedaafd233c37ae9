"""What the service answers, as values that document themselves in OpenAPI; built from the bundle's tasks."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from cxr.evidence import inside, questions, shares, speaking_for
from cxr.graphs import Precision
from cxr.pipeline import Film
from cxr.prediction import Prediction, TaskAnswer
from cxr.quality import SENTENCES, Flag, flags
from cxr.segmentation import Verdict
from cxr.tasks import Task
from serving.readiness import LoadedBundle

NOTICE = "Research use only, not a medical device."
# How the score behind an ordinal task is called in the answer; a further task with ranges says plainly `range`.
RANGE_FIELDS = {"severity": "brixia_range"}


class ConformalSet(BaseModel):
    """The classes that the film may be of, and whether that is an answer.

    Of the films of any one class, at least a share of `coverage` have it in their set, where films are like those of the calibration.
    """

    classes: list[str] = Field(description="may be none, one or several")
    coverage: float = Field(gt=0, lt=1)
    abstain: str | None = Field(
        None, description="why `label` should not be taken for an answer; null where the set is one class"
    )


class TaskResult(BaseModel):
    """The answer to one task. Classes that are ranges of a score also have `category` (from 0) and the range."""

    model_config = ConfigDict(extra="allow")
    label: str = Field(description="most probable class")
    probability: float = Field(ge=0, le=1, description="calibrated probability of `label`")
    probabilities: dict[str, float] = Field(description="calibrated probability of each class; they sum to 1")
    meaning: str = Field(description="what `label` says, in words")
    conformal: ConformalSet | None = Field(description="null for versions registered without limits")


class Lungs(BaseModel):
    """What the segmentation found, in pixels of the film as sent."""

    verdict: Verdict
    box: tuple[int, int, int, int] = Field(description="[left, top, right, bottom] of the crop; may reach over the film's edge")
    coverage: float = Field(ge=0, le=1, description="share of the film that the lungs take")
    film_size: tuple[int, int] = Field(description="[width, height] of the film as sent")
    precision: Precision = Field(
        description="what they were found in: float32, or a lower one where that is certain to give the same crop"
    )


class FilmTrace(BaseModel):
    """How the network's input came about; equal digests mean equal input, in training as here."""

    source: str
    steps: list[str]
    digest: str = Field(description="SHA-256 of the prepared film")
    gate_score: float | None = Field(
        description="1 = at the edge of the training films, typical 0.5; null: the version has no input gate"
    )


class ModelId(BaseModel):
    """Which bundle answered."""

    name: str
    version: str
    alias: str
    digest: str = Field(description="SHA-256 of the bundle's manifest")
    pipeline_digest: str


class Evidence(BaseModel):
    """Places of `lungs.box`, rows from top to bottom, and the share of the evidence that each holds: they sum to 1, or 0 where nothing
    spoke for it."""

    map: list[list[float]]
    in_lungs: float = Field(ge=0, le=1, description="share of it that lies on the lungs; little says that something else decided")


class TaskEvidence(BaseModel):
    """Grad-CAM of two questions: what spoke for the `label` given, and what for a worse class, whatever was answered."""

    label: Evidence
    worse: Evidence | None = Field(None, description="null for tasks whose classes have no order")


class Timings(BaseModel):
    """Milliseconds; `total` also holds the time spent waiting for a worker."""

    read_body: float
    prepare: float
    network: float
    total: float

    @classmethod
    def of(cls, **seconds: float) -> Self:
        return cls(**{stage: round(value * 1000, 3) for stage, value in seconds.items()})


class PredictionAnswer(BaseModel):
    """One field per task of the bundle (`prognosis`, `severity`, …) beside the fields named here."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TaskResult]
    lungs: Lungs
    film: FilmTrace
    model: ModelId
    quality: list[Flag] = Field(description="what speaks against trusting the answer; empty: nothing was seen")
    warnings: list[str] = Field(description="the same in words")
    evidence: dict[str, TaskEvidence] | None = Field(None, description="by task, with `?explain=true`")
    request_id: str
    timings_ms: Timings
    notice: str = NOTICE

    @model_serializer(mode="wrap")
    def _answers_first(self, serialise: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # a type would replace the schema
        fields = serialise(self)
        tasks = self.__pydantic_extra__ or {}
        return {name: fields[name] for name in (*tasks, *fields)}


def model_id(loaded: LoadedBundle) -> ModelId:
    return ModelId(
        name=loaded.name,
        version=loaded.version,
        alias=loaded.alias,
        digest=loaded.bundle.digest,
        pipeline_digest=loaded.bundle.manifest.pipeline.digest(),
    )


def answer(prediction: Prediction, loaded: LoadedBundle, request_id: str, timings: Timings) -> PredictionAnswer:
    """A prediction with everything needed to reproduce it."""
    film, bundle = prediction.film, loaded.bundle
    height, width = film.shape
    raised = flags(film, bundle.manifest.pipeline)
    coverages = {name: 1 - limits.alpha for name, limits in bundle.manifest.conformal.items()}
    results: dict[str, Any] = {
        task.name: task_result(task, prediction.answers[task.name], coverages.get(task.name)) for task in bundle.tasks
    }
    return PredictionAnswer(
        **results,
        lungs=Lungs(
            verdict=film.verdict,
            box=film.box,
            coverage=film.coverage,
            film_size=(width, height),
            precision=bundle.precision if film.quick else "float32",
        ),
        film=FilmTrace(source=film.source, steps=list(film.steps), digest=film.digest, gate_score=film.score),
        model=model_id(loaded),
        quality=list(raised),
        warnings=[SENTENCES[flag] for flag in raised],
        evidence={task.name: _task_evidence(task, prediction) for task in bundle.tasks} if prediction.evidence else None,
        request_id=request_id,
        timings_ms=timings,
    )


def task_result(task: Task, given: TaskAnswer, coverage: float | None) -> TaskResult:
    """One task's answer in words; `coverage` is what its conformal limits promise."""
    ordinal: dict[str, Any] = {}
    if task.ranges:
        ordinal = {"category": given.index, RANGE_FIELDS.get(task.name, "range"): list(task.ranges[given.index])}
    return TaskResult(
        label=given.label,
        probability=given.probabilities[given.index],
        probabilities=dict(zip(task.classes, given.probabilities, strict=True)),
        meaning=task.meaning[given.index],
        conformal=None if coverage is None or given.candidates is None else _conformal(task, given.candidates, coverage),
        **ordinal,
    )


def _conformal(task: Task, candidates: tuple[int, ...], coverage: float) -> ConformalSet:
    classes = [task.classes[i] for i in candidates]
    reason = {
        0: "The film is like none of the classes: it differs from the films that the limits come from.",
        1: None,
    }.get(len(classes), f"The film may be of {len(classes)} classes, and no fewer hold the promised coverage.")
    return ConformalSet(classes=classes, coverage=coverage, abstain=reason)


def _task_evidence(task: Task, prediction: Prediction) -> TaskEvidence:
    given, found = prediction.answers[task.name], prediction.evidence[task.name]
    asked = questions(task, given.index, given.probabilities)
    return TaskEvidence(**{name: _evidence(speaking_for(found, how), prediction.film) for name, how in asked.items()})


def _evidence(found: NDArray[np.float32], film: Film) -> Evidence:
    return Evidence(map=[[round(float(x), 5) for x in row] for row in shares(found)], in_lungs=round(inside(found, film), 4))
