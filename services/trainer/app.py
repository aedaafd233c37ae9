"""The application: what is built, in what order, and what each part is given. Nothing happens at import."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.trainer import errors
from services.trainer.answers import NOTICE
from services.trainer.callers import Callers
from services.trainer.driver import Driver, MakeExecutor
from services.trainer.ledger import Ledger
from services.trainer.metrics import Metrics
from services.trainer.readiness import Readiness
from services.trainer.records import Order
from services.trainer.routes import health, protocols
from services.trainer.settings import Settings
from services.trainer.usable import executor_check

DESCRIPTION = f"""**{NOTICE}**

A protocol is a recipe on a data folder: from the lung U-Net and the films to every unit of training, the report, the registered
bundle and, when the gate opens, the champion. What is finished is found in MLflow and not done again; what is cut off goes on.
Refusals are `application/problem+json` with a stable `code`.
"""


def create_app(settings: Settings, make_executor: MakeExecutor, at_start: Order | None = None) -> FastAPI:
    """The service. `at_start` is submitted as soon as MLflow answers."""
    metrics, ledger = Metrics(), Ledger(settings)
    driver = Driver(settings, ledger, metrics, make_executor, at_start)
    readiness = Readiness(lambda: driver.client, lambda: driver.trouble, executor_check(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        driver.start()
        readiness.start()
        yield
        ledger.stop()
        ledger.wake()
        readiness.stop()

    app = FastAPI(title="MDMT training service", version="1", summary=NOTICE, description=DESCRIPTION, lifespan=lifespan)
    app.state.settings, app.state.metrics, app.state.ledger = settings, metrics, ledger
    app.state.driver, app.state.readiness = driver, readiness
    for routes in (protocols, health):
        app.include_router(routes.router)
    app.add_middleware(Callers, settings=settings)
    errors.install(app)
    return app
