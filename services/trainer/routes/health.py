"""Alive, ready, counted: what an orchestrator and a monitor ask. None of these waits for MLflow."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.trainer.answers import NOTICE
from services.trainer.errors import Refused
from services.trainer.routes.documented import problems

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> dict[str, str]:
    """Touches nothing: with MLflow away the service is alive, and restarting it would not help."""
    return {"status": "alive"}


@router.get("/readyz", summary="Does MLflow answer, and can work be done?", responses=problems("not-ready"))
async def readyz(request: Request) -> dict[str, str]:
    """503 with the reasons otherwise. MLflow is asked a real query every few seconds."""
    if reasons := request.app.state.readiness.reasons():
        raise Refused("not-ready", "; ".join(reasons), request.app.state.settings.retry_seconds, reasons=reasons)
    return {"status": "ready"}


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Text exposition format."""
    state = request.app.state
    state.metrics.show(state.ledger.loaded(), not state.readiness.reasons())
    return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/", summary="Where things are")
async def index() -> dict[str, str]:
    """The paths worth knowing."""
    return {"protocols": "/protocols", "ready": "/readyz", "metrics": "/metrics", "docs": "/docs", "notice": NOTICE}
