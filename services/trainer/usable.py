"""Whether what starts units can be had: asked from time to time, for /readyz."""

from collections.abc import Callable

from services.executors.container_settings import ContainerSettings
from services.trainer.settings import Settings

ANSWER_SECONDS = 5


def executor_check(settings: Settings) -> Callable[[], None]:
    """A function that raises when the executor of these settings cannot be used. Processes of this machine always can; a cluster is
    joined when there is work, and says then what is missing."""
    if settings.executor != "container":
        return lambda: None

    # Only where containers are used, and before any thread of the service runs: the package imports itself in a circle, and two
    # threads that are the first to import it at the same moment get half of it (ImportError: partially initialized module).
    import docker

    def ask_the_engine() -> None:
        engine = docker.from_env(timeout=ANSWER_SECONDS)
        try:
            engine.images.get(ContainerSettings().unit_image)
        finally:
            engine.close()

    return ask_the_engine
