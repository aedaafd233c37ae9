"""Protocols: submit, look, listen, cancel."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from services.trainer.answers import Answer, Line
from services.trainer.orders import Submission, order_from, read_submission
from services.trainer.protocol import Protocol
from services.trainer.routes.documented import problems
from services.trainer.stream import is_over, stream

LOG_BYTES = 1_000_000
REFUSALS = (
    "invalid-recipe", "invalid-data", "invalid-request", "body-too-large", "unsupported-media-type", "still-stopping",
    "registering", "cross-origin", "tracking-away", "tracking-refuses",
)  # fmt: skip
router = APIRouter(prefix="/protocols", tags=["protocols"])


@router.post(
    "", status_code=202, response_model=Answer, summary="Submit a recipe",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": Submission.model_json_schema()}}}},
    responses={
        200: {"model": Answer, "description": "it waits or works already"},
        **problems(*REFUSALS),
    },
)  # fmt: skip
def submit(submission: Annotated[Submission, Depends(read_submission)], request: Request, response: Response) -> dict[str, Any]:
    """The same recipe on the same data is the same protocol: it is never worked on twice. One that was cancelled or has failed goes on
    where it was; of one that is finished, what is missing is done again. Of one that waits or works `promote` counts as sent last."""
    state = request.app.state
    protocol, queued = state.ledger.submit(order_from(submission, state.settings), take_over=True)
    response.status_code = 202 if queued else 200
    response.headers["Location"] = f"/protocols/{protocol.id}"
    return _answer(protocol, request)


@router.get("", response_model=list[Line], summary="All protocols, oldest first", responses=problems("tracking-away"))
def every(request: Request) -> list[dict[str, Any]]:
    return [protocol.line() for protocol in request.app.state.ledger.all()]


@router.get("/{id}", response_model=Answer, summary="How it stands", responses=problems("unknown-protocol", "tracking-away"))
def one(id: str, request: Request) -> dict[str, Any]:
    return _answer(request.app.state.ledger.get(id), request)


@router.delete(
    "/{id}", status_code=202, response_model=Answer, summary="Cancel",
    responses={200: {"model": Answer, "description": "it is over"}, **problems("unknown-protocol", "cross-origin", "tracking-away")},
)  # fmt: skip
def cancel(id: str, request: Request, response: Response) -> dict[str, Any]:
    """Running units are given back with their last epoch kept; cancelling twice is cancelling once. Submit again to go on."""
    protocol = request.app.state.ledger.cancel(id)
    response.status_code = 200 if is_over(protocol) else 202
    return _answer(protocol, request)


@router.get(
    "/{id}/events", response_class=StreamingResponse, summary="Server-sent events",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "snapshot, state, waiting, stage, units, unit"},
        204: {"description": "it is over, and you have heard everything"},
        **problems("unknown-protocol", "tracking-away"),
    },
)  # fmt: skip
async def events(
    id: str, request: Request, last_event_id: Annotated[str | None, Header(description="goes on after this event")] = None
) -> Response:
    """Begins with a `snapshot` (as GET /protocols/{id}), or after Last-Event-ID where that is still known; ends when it is over."""
    protocol, state = request.app.state.ledger.get(id), request.app.state
    if is_over(protocol) and protocol.events.position(last_event_id) == protocol.events.newest:
        return Response(status_code=204)
    frames = stream(
        protocol, lambda: _answer(protocol, request), last_event_id, state.settings.heartbeat_seconds, state.ledger.stopping
    )
    return StreamingResponse(
        frames, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


@router.get(
    "/{id}/logs", response_class=PlainTextResponse, summary="Its log", responses=problems("unknown-protocol", "tracking-away")
)
def logs(id: str, request: Request, offset: Annotated[int, Query(ge=0, le=1 << 60)] = 0) -> Response:
    """At most a million bytes from `offset` on; the header Next-Offset says where to go on."""
    path, text = request.app.state.ledger.get(id).log_file, b""
    if path.is_file():
        with path.open("rb") as file:
            file.seek(offset)
            text = file.read(LOG_BYTES)
    return Response(text, media_type="text/plain; charset=utf-8", headers={"Next-Offset": str(offset + len(text))})


def _answer(protocol: Protocol, request: Request) -> dict[str, Any]:
    settings = request.app.state.settings
    return protocol.answer() | {"executor": settings.executor, "slots": settings.slots}
