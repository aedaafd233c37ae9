"""The application: what is built, in what order, and what each part is given. Nothing happens at import."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from serving import errors
from serving.access import AccessMiddleware
from serving.admission import Admission
from serving.answers import NOTICE
from serving.metrics import Metrics
from serving.readiness import LoadedBundle, Readiness
from serving.routes import health, model, predictions
from serving.settings import Settings

DESCRIPTION = f"""**{NOTICE}**

Send one frontal chest X-ray as PNG, JPEG or DICOM; the answer holds the COVID-19 prognosis and the Brixia severity category, each
with calibrated probabilities, the lungs that were found, and the version that answered. Refusals are `application/problem+json`.
"""


def create_app(settings: Settings, load_bundle: Callable[[], LoadedBundle]) -> FastAPI:
    """The service. `load_bundle` is called on a thread at start-up, then every `settings.retry_seconds` until it succeeds."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.readiness.start()
        yield
        app.state.readiness.stop()

    app = FastAPI(title="MDMT", version="1", summary=NOTICE, description=DESCRIPTION, lifespan=lifespan)
    app.state.settings = settings
    app.state.readiness = Readiness(load_bundle, settings.retry_seconds)
    app.state.admission = Admission(settings.workers, settings.queue, settings.max_buffered_bytes)
    app.state.metrics = Metrics()
    for routes in (predictions, model, health):
        app.include_router(routes.router)
    errors.install(app)
    app.add_middleware(AccessMiddleware)
    return app
