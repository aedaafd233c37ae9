"""The application: what is built, in what order, and what each part is given. Nothing happens at import."""

import importlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from cxr import decoding, raster_apart
from cxr.decoding import NurseryGone
from serving import errors
from serving.acceptance import FEWEST_GOLDEN, Acceptance
from serving.access import AccessMiddleware
from serving.admission import Admission
from serving.answers import NOTICE
from serving.audit import Audit
from serving.authorization import Authorization
from serving.drift import Drift
from serving.keys import KeyRing
from serving.metrics import Metrics
from serving.readiness import LoadedBundle, Readiness, Source
from serving.routes import admin, batches, health, model, open_inference, page, predictions
from serving.routes.documented import ask_for_keys
from serving.settings import Settings

log = logging.getLogger("serving")

DESCRIPTION = f"""**{NOTICE}**

Send one frontal chest X-ray as PNG, JPEG or DICOM; the answer holds the COVID-19 prognosis and the Brixia severity category, each
with calibrated probabilities, the lungs that were found, and the version that answered. Refusals are `application/problem+json`.
"""


def create_app(settings: Settings, bundles: Source | Callable[[], LoadedBundle]) -> FastAPI:
    """The service. `bundles` is asked on a thread at start-up, again until it gives one, and then followed; a function gives one for
    good, which may carry fewer golden films than a registered version must. Raises KeyFileError."""
    source = bundles if isinstance(bundles, Source) else Source.fixed(bundles)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.readiness.start()
        if settings.files_per_decoder:
            threading.Thread(target=_start_decoder, args=(settings.files_per_decoder,), name="decoder", daemon=True).start()
        threading.Thread(target=_read_what_is_slow, args=(app.state.readiness,), name="imports", daemon=True).start()
        yield
        app.state.readiness.stop()
        app.state.admission.workers.close()
        app.state.audit.close()

    # Here, for what a middleware's own constructor raises would be raised by each request, of a service that seems to run.
    ring = None if settings.keys_file is None else KeyRing(settings.keys_file)
    app = FastAPI(
        title="MDMT", version="1", summary=NOTICE, description=DESCRIPTION, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.settings = settings
    app.state.metrics = Metrics()
    app.state.audit = Audit(settings.audit_secret)
    app.state.drift = Drift()
    fewest_golden = FEWEST_GOLDEN if isinstance(bundles, Source) else 1
    accept = Acceptance(settings.slowest_seconds, settings.slowest_factor, fewest_golden)
    app.state.readiness = Readiness(source, accept, settings.retry_seconds, settings.poll_seconds, app.state.metrics.looked)
    app.state.admission = Admission(settings.workers, settings.queue, settings.max_buffered_bytes, settings.uploads)
    for routes in (page, predictions, batches, open_inference, model, health, admin):
        app.include_router(routes.router)
    if settings.keys_file is not None:
        ask_for_keys(app)
    errors.install(app)
    app.add_middleware(Authorization, settings=settings, ring=ring)
    app.add_middleware(AccessMiddleware)  # outermost: refusals are logged and counted like answers
    return app


def _start_decoder(files: int) -> None:
    """Have a process ready that decodes pictures, while the graphs are loaded: the first film would wait for its imports."""
    try:
        raster_apart.warm_up(files)
    except NurseryGone as error:
        log.error("%s; films are answered 503 until then", error)


def _read_what_is_slow(readiness: Readiness) -> None:
    """Import what takes long where it holds up nothing: labelling beside the loading of the graphs, and readers of DICOM, which few
    first films need, once a version is served. Decoders are tested: a wrong one of JPEG Lossless answers with wrong pixels, not with
    an error."""
    importlib.import_module("scipy.ndimage")
    readiness.first_look.wait()
    importlib.import_module("cxr.dicom")
    try:
        if not decoding.warm_up():
            log.error("the decoder of JPEG Lossless fails its self-test: films in this encoding are refused")
    except NurseryGone as error:
        log.error("%s; films in compressed DICOM are answered 503 until then", error)
