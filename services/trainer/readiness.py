"""Whether work can be done: MLflow is asked a real query again and again, so is what starts units; the driver says what it lacks."""

import time
from collections.abc import Callable
from threading import Event, Thread

from mlflow import MlflowClient

from services.trainer.away import in_a_line

ASK_SECONDS, FIRST_SECONDS = 3.0, 0.1
OLD_SECONDS = 15.0  # an answer older than this says nothing: a server that hangs does not even refuse


class Readiness:
    """`client` gives MLflow's once there is one, `trouble` what keeps the driver from working; `ask_executor` raises when it is away."""

    def __init__(
        self, client: Callable[[], MlflowClient | None], trouble: Callable[[], str], ask_executor: Callable[[], None]
    ) -> None:
        self._client, self._trouble, self._ask_executor = client, trouble, ask_executor
        self._answered: float | None = None
        self._refusals: list[str] = []
        self._stop = Event()
        self._thread = Thread(target=self._run, name="readiness", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def reasons(self) -> list[str]:
        """What is missing; empty when nothing is."""
        if trouble := self._trouble():
            return [trouble]
        if self._answered is None:
            return self._refusals or ["MLflow is being asked"]
        silent = time.monotonic() - self._answered
        return self._refusals or ([f"no answer for {silent:.0f} s"] if silent > OLD_SECONDS else [])

    def _run(self) -> None:
        pause = FIRST_SECONDS
        while not self._stop.wait(pause):
            if client := self._client():
                asked = {"MLflow": lambda client=client: client.search_experiments(max_results=1), "executor": self._ask_executor}
                self._refusals = [refusal for what, ask in asked.items() if (refusal := _refusal(what, ask))]
                self._answered, pause = time.monotonic(), ASK_SECONDS


def _refusal(what: str, ask: Callable[[], object]) -> str:
    try:
        ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a reason not to be ready
        return f"{what} does not answer: {in_a_line(error)}"
    return ""
