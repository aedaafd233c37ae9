"""POST /admin/reload: follow the alias now, not at the next look."""

import anyio
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from serving.answers import NOTICE
from serving.errors import ProblemError
from serving.routes.documented import problems

router = APIRouter(tags=["administration"])


class ReloadAnswer(BaseModel):
    """What is served after the look."""

    name: str
    version: str
    switched: bool = Field(description="whether another version is served than before")
    notice: str = NOTICE


@router.post("/admin/reload", summary="Follow the alias now", responses=problems(401, 403, 409, 429, 503))
async def reload(request: Request) -> ReloadAnswer:
    """Needs a key with scope `admin` where keys are used. A version that was refused is tried again; while the new version is loaded and
    checked the old one answers, and when the new one is refused it goes on answering."""
    readiness = request.app.state.readiness
    outcome = await anyio.to_thread.run_sync(lambda: readiness.look(again=True), abandon_on_cancel=True)
    if outcome.change == "refused":
        raise ProblemError("version-refused", f"The version that the alias points to is not served: {outcome.reason}.")
    if outcome.change == "away":
        raise ProblemError("registry-away", f"{outcome.reason[:1].upper()}{outcome.reason[1:]}.", retry_after=5)
    loaded = readiness.current()
    return ReloadAnswer(name=loaded.name, version=loaded.version, switched=outcome.change == "switched")
