"""Alive, ready, counted: what an orchestrator and a monitor ask. These answer however busy the predictions are."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serving.answers import model_id
from serving.errors import ProblemError
from serving.readiness import LoadedBundle, Readiness
from serving.routes.documented import problems

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> dict[str, str]:
    """Touches nothing: a service without a bundle is alive, and restarting it would not help."""
    return {"status": "alive"}


@router.get("/readyz", summary="Has a bundle answered its golden case?", responses=problems(503))
async def readyz(request: Request) -> dict[str, str]:
    """200 with the version that answers, or 503 with the reason why none does, or that the service is ending."""
    loaded = ready_for_more(request)
    return {"status": "ready", "name": loaded.name, "version": loaded.version}


def ready_for_more(request: Request) -> LoadedBundle:
    """What answers further requests, for whoever decides where to send them. Raises ProblemError `not-ready`, also where this service
    still answers but is ending."""
    readiness: Readiness = request.app.state.readiness
    if readiness.ending:
        raise ProblemError("not-ready", "The service is ending. Ask another one.", retry_after=1)
    return readiness.current()


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Text exposition format."""
    state = request.app.state
    loaded = state.readiness.loaded
    state.metrics.show_bundle(model_id(loaded) if loaded else None)
    state.metrics.in_flight.set(state.admission.inside)
    state.metrics.queue.set(state.admission.computing)
    if loaded is not None:
        state.metrics.show_drift(state.drift.classes(loaded.bundle), state.drift.unusual(loaded.bundle))
    return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
