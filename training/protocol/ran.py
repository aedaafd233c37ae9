"""What a run came to."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ran:
    """What a run came to: units of the plan, those done by this call, and by title those that failed for good or start from such."""

    distinct: int
    now: int
    failed: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()


class UnitsFailed(RuntimeError):
    """Units that are needed failed; the others are done."""

    def __init__(self, ran: Ran) -> None:
        lines = "\n  ".join(f"{title}: {reason}" for title, reason in ran.failed.items())
        super().__init__(f"{len(ran.failed)} unit(s) failed, {len(ran.skipped)} that start from them were not run:\n  {lines}")
