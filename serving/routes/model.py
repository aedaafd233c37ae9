"""GET /model: which bundle answers, what it was made of and what it may be used for."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from cxr.pipeline import PipelineSpec
from cxr.precision import reason
from serving.answers import NOTICE, ModelId, model_id
from serving.routes.documented import problems

router = APIRouter(tags=["model"])
UNSIGNED = "unsigned: this service trusts no key (MDMT_TRUSTED_KEYS), so that signatures are not asked for"


class TaskCard(BaseModel):
    """One question that is answered; `temperature` is what calibrates it (1 = as trained)."""

    name: str
    title: str
    classes: list[str]
    meanings: list[str]
    ranges: list[tuple[int, int]]
    temperature: float


class GateCard(BaseModel):
    """What the input gate was fitted to, and what it lets through: `accepted` is the share of held-out training films under `threshold`."""

    threshold: float
    accepted: float
    films: int
    cohorts: list[str]


class ModelAnswer(ModelId):
    """The bundle that is served."""

    tasks: list[TaskCard]
    pipeline: PipelineSpec
    segmenter_digest: str
    engine: str = Field(description="what computes the graphs on this host")
    precision: str = Field(description="what lungs are looked for in first; close calls and the network are computed in float32")
    precision_reason: str
    gate: GateCard | None = Field(description="null: no gate, only the tags of DICOM films are asked")
    signed_by: str = Field(description="fingerprint of the trusted key that signed it, or why that is not known")
    lineage: dict[str, str] = Field(description="runs and digests of data, recipe and code that the bundle comes from")
    notice: str = NOTICE


@router.get("/model", summary="The bundle that is served", responses=problems(503))
async def describe(request: Request) -> ModelAnswer:
    """Version, tasks with the meaning of their classes, how films are prepared, calibration and lineage."""
    loaded = request.state.loaded = request.app.state.readiness.current()
    manifest, graph = loaded.bundle.manifest, loaded.bundle.engine.graph
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
        engine=graph.engine,
        precision=loaded.bundle.precision,
        precision_reason=reason(manifest.proofs, graph.engine, loaded.bundle.precision),
        gate=None if (gate := loaded.bundle.gate.model) is None else GateCard.model_validate(gate.model_dump()),
        signed_by=loaded.signed_by or UNSIGNED,
        lineage=manifest.lineage,
    )
