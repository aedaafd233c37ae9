"""GET /model: which bundle answers, what it was made of and what it may be used for."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cxr.pipeline import PipelineSpec
from serving.answers import NOTICE, ModelId
from serving.readiness import LoadedBundle
from serving.routes.documented import problems

router = APIRouter(tags=["model"])


class TaskCard(BaseModel):
    """One question that is answered; `temperature` is what calibrates it (1 = as trained)."""

    name: str
    title: str
    classes: list[str]
    meanings: list[str]
    ranges: list[tuple[int, int]]
    temperature: float


class ModelAnswer(ModelId):
    """The bundle that is served."""

    tasks: list[TaskCard]
    pipeline: PipelineSpec
    segmenter_digest: str
    lineage: dict[str, str] = Field(description="runs and digests of data, recipe and code that the bundle comes from")
    notice: str = NOTICE


@router.get("/model", summary="The bundle that is served", responses=problems(503))
async def describe(request: Request) -> ModelAnswer:
    """Version, tasks with the meaning of their classes, how films are prepared, calibration and lineage."""
    loaded = request.app.state.readiness.current()
    manifest = loaded.bundle.manifest
    return ModelAnswer(
        **model_id(loaded).model_dump(),
        tasks=[
            TaskCard(
                name=task.name,
                title=task.title,
                classes=list(task.classes),
                meanings=list(task.meaning),
                ranges=list(task.ranges),
                temperature=manifest.temperatures[task.name],
            )
            for task in loaded.bundle.tasks
        ],
        pipeline=manifest.pipeline,
        segmenter_digest=loaded.bundle.segmenter.digest,
        lineage=manifest.lineage,
    )


def model_id(loaded: LoadedBundle) -> ModelId:
    return ModelId(
        name=loaded.name,
        version=loaded.version,
        alias=loaded.alias,
        digest=loaded.bundle.digest,
        pipeline_digest=loaded.bundle.manifest.pipeline.digest(),
    )
