"""The web page and the page that describes the interface: static files that hold nothing; what they show they ask for themselves."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from serving.errors import ProblemError
from serving.routes.documented import problems

router = APIRouter()

FOLDER = Path(__file__).parents[1] / "page"
KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.get("/", include_in_schema=False)
async def index() -> HTMLResponse:
    """Drop a film, see the answer."""
    return HTMLResponse(_content("index.html"))


@router.get("/docs", include_in_schema=False)
async def docs() -> HTMLResponse:
    """/openapi.json for people, drawn without help from elsewhere."""
    return HTMLResponse(_content("docs.html"))


@router.get("/page/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """Scripts, styles and the icon."""
    if name not in _assets():
        raise ProblemError("not-found", "No such file of the page.")
    return Response(_content(name), media_type=KINDS[Path(name).suffix])


class MarkdownResponse(PlainTextResponse):
    media_type = "text/markdown"


@router.get("/model/card", summary="The model card", tags=["model"], response_class=MarkdownResponse, responses=problems(503))
async def card(request: Request) -> MarkdownResponse:
    """What the version that is served was trained on, how well it does, and what it must not be used for (Markdown)."""
    return MarkdownResponse(request.app.state.readiness.current().bundle.card)


@cache
def _assets() -> frozenset[str]:
    return frozenset(path.name for path in FOLDER.iterdir() if path.suffix in KINDS)


@cache
def _content(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
