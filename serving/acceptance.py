"""What a version must show before it is served: its golden cases, numbers, shapes, and that it is not much slower than the one before."""

from time import perf_counter

from cxr.bundle import Bundle
from cxr.manifest import BundleError
from serving.answers import PredictionAnswer
from serving.readiness import LoadedBundle

TURNS = 3  # of both in turns; the fastest counts, for whatever else the machine does only makes a turn slower
UNNOTICED = 0.25  # seconds for one film that are never too many


class Acceptance:
    """`slowest_seconds` for one film, and at most `slowest_factor` times what the version that is served takes for its own."""

    def __init__(self, slowest_seconds: float, slowest_factor: float) -> None:
        self._seconds, self._factor = slowest_seconds, slowest_factor

    def __call__(self, new: LoadedBundle, old: LoadedBundle | None) -> None:
        """Raises BundleError unless `new` may be served in place of `old`."""
        taken = sorted({task.name for task in new.bundle.tasks} & set(PredictionAnswer.model_fields))
        if taken:
            raise BundleError(f"task name {', '.join(taken)} is a field of every answer: rename it and register the bundle again")
        new.bundle.check_golden()
        allowed = self._seconds
        takes, took = zip(*((_seconds(new.bundle), old and _seconds(old.bundle)) for _ in range(TURNS)), strict=True)
        if old is not None:
            allowed = min(allowed, max(UNNOTICED, self._factor * min(took)))
        if min(takes) > allowed:
            raise BundleError(f"one film takes {min(takes):.2f} s, allowed {allowed:.2f} s: the version is too slow", "slow")


def _seconds(bundle: Bundle) -> float:
    started = perf_counter()
    bundle.predict(bundle.golden[0][0], gated=False)
    return perf_counter() - started
