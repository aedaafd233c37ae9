"""What stands between the last step of an epoch and the first of the next, part by part, in an epoch of nine steps."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

from benchmarks.clock import Spent, middle
from benchmarks.training import pictures
from benchmarks.training.contenders import network_of
from training.learning import checkpoint, fitting
from training.learning.course import Course
from training.learning.devices import Way
from training.learning.fitting import fit
from training.protocol.desk import Desk
from training.settings import Training

STEPS = 9  # of an epoch of data set A at the paper's batch of 128
FORWARD, EVALUATION = "forward passes of validation", "the rest of validation"
# Those that the training waits for, and those that threads do beside its next steps.
BETWEEN = ("tracking: spooled and synced", "best weights kept", "copy for the checkpoint")
BESIDE = ("checkpoint file", "MLflow call")


class Clock:
    """What each part took, every time; the time of a part is that of its own thread."""

    def __init__(self) -> None:
        self.taken: dict[str, list[Spent]] = {}

    def around(self, part: str, do: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*asked: Any, **named: Any) -> Any:
            cpu, wall = time.thread_time(), time.perf_counter()
            try:
                return do(*asked, **named)
            finally:
                self.taken.setdefault(part, []).append(Spent(time.thread_time() - cpu, time.perf_counter() - wall))

        return timed

    @contextmanager
    def inside(self, owner: Any, name: str, part: str) -> Iterator[None]:
        """The function of a module or class is timed, wherever it is called from."""
        own = getattr(owner, name)
        setattr(owner, name, self.around(part, own))
        try:
            yield
        finally:
            setattr(owner, name, own)


def ends(backbone: str, folder: Path, size: int, batch: int, way: Way, epochs: int) -> dict[str, Any]:
    """Seconds (medians over the epochs): {"steps": wall of an epoch's steps, "whole": Spent of an epoch with all that belongs to it,
    "parts": {part: Spent}, "rest": wall between two epochs that is in no part}.

    A third as many films validate, a checkpoint is written, figures are spooled and sent to MLflow (SQLite) by a thread.
    """
    train, val = pictures.samples(folder, STEPS * batch, size), pictures.samples(folder, STEPS * batch // 3, size)
    settings = Training(batch_size=batch, max_epochs=epochs, warmup_epochs=0, patience=epochs)
    clock, begins, asked = Clock(), list[Spent](), [0]

    def pause() -> None:
        if asked[0] % (STEPS + 1) == 0:  # asked before each batch and once before the checkpoint
            begins.append(Spent(time.process_time(), time.perf_counter()))
        asked[0] += 1

    evaluated: list[float] = []
    evaluate = fitting.evaluate_loss

    def noted(*given: Any) -> dict[str, float]:
        evaluated.append(time.perf_counter())
        return evaluate(*given)

    with tempfile.TemporaryDirectory() as place:
        desk = Desk(Path(place), "unit")
        desk.open()
        client = MlflowClient(f"sqlite:///{place}/mlflow.db")
        run = client.create_run(client.create_experiment("bench", f"file://{place}/artifacts")).info.run_id
        senders: list[Thread] = []

        def send(epoch: int, figures: dict[str, float]) -> None:
            client.log_batch(run, [Metric(name, value, int(time.time() * 1000), epoch) for name, value in figures.items()])

        spool, sent = clock.around(BETWEEN[0], desk.spool), clock.around(BESIDE[1], send)

        def progress(epoch: int, figures: dict[str, float]) -> None:
            spool(epoch, figures)
            senders.append(Thread(target=sent, args=(epoch, figures)))
            senders[-1].start()

        fitting.evaluate_loss = clock.around(EVALUATION, noted)
        try:
            with (
                clock.inside(fitting, "predict", FORWARD),
                clock.inside(Course, "close_epoch", BETWEEN[1]),
                clock.inside(Course, "snapshot", BETWEEN[2]),
                clock.inside(checkpoint, "save", BESIDE[0]),
            ):
                network = network_of(backbone)
                fit(network, train, val, settings, 0, progress, desk.checkpoints, keep_going=pause, identity="bench", way=way)
        finally:
            fitting.evaluate_loss = evaluate
        for sender in senders:
            sender.join()
    parts = {part: middle(taken) for part, taken in clock.taken.items()}
    parts[EVALUATION] = Spent(*(whole - bare for whole, bare in zip(parts[EVALUATION], parts[FORWARD], strict=True)))
    between = median(begin.wall - end for end, begin in zip(evaluated, begins[1:], strict=False))
    waited = sum(parts[part].wall for part in (FORWARD, EVALUATION, *BETWEEN))
    whole = [Spent(b.cpu - a.cpu, b.wall - a.wall) for a, b in pairwise(begins)]
    steps = median(end - begin.wall for begin, end in zip(begins, evaluated, strict=True))
    return {"steps": steps, "whole": middle(whole), "parts": parts, "rest": between - waited}
