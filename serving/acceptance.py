"""What a version must show before it is served: its golden cases, numbers, shapes, and that it is not much slower than the one before."""

from time import perf_counter

from cxr.bundle import Bundle
from cxr.manifest import BundleError
from serving.answers import PredictionAnswer
from serving.readiness import LoadedBundle

TURNS = 3  # of both in turns; the fastest counts, for whatever else the machine does only makes a turn slower
FEWEST_GOLDEN = 3  # films; one alone may come out right by chance
UNNOTICED = 0.25  # seconds for one film that are never too many


class Acceptance:
    """`slowest_seconds` for one film, and at most `slowest_factor` times what the version that is served takes for its own; at least
    `fewest_golden` films whose answers are known."""

    def __init__(self, slowest_seconds: float, slowest_factor: float, fewest_golden: int = FEWEST_GOLDEN) -> None:
        self._seconds, self._factor, self._fewest = slowest_seconds, slowest_factor, fewest_golden

    def __call__(self, new: LoadedBundle, old: LoadedBundle | None) -> None:
        """Raises BundleError unless `new` may be served in place of `old`."""
        taken = sorted({task.name for task in new.bundle.tasks} & set(PredictionAnswer.model_fields))
        if taken:
            raise BundleError(f"task name {', '.join(taken)} is a field of every answer: rename it and register the bundle again")
        if len(new.bundle.golden) < self._fewest:
            raise BundleError(
                f"the bundle carries {len(new.bundle.golden)} golden films and {self._fewest} are asked for: register it again",
                "golden",
            )
        new.bundle.check_golden()
        allowed = self._seconds
        turns = 1 if old is None else TURNS  # nothing answers until then, and one film is warm from its golden case
        takes, took = zip(*((_seconds(new.bundle), old and _seconds(old.bundle)) for _ in range(turns)), strict=True)
        if old is not None:
            allowed = min(allowed, max(UNNOTICED, self._factor * min(took)))
        if min(takes) > allowed:
            raise BundleError(f"one film takes {min(takes):.2f} s, allowed {allowed:.2f} s: the version is too slow", "slow")


def _seconds(bundle: Bundle) -> float:
    started = perf_counter()
    bundle.predict(bundle.golden[0][0], gated=False)
    return perf_counter() - started
