"""What is waited for: MLflow, or a database, that does not answer now and will again."""

from training.protocol.claims_database import ClaimsUnavailable
from training.runs import is_passing
from training.store_lock import StoreBusy


def is_away(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, is one that passes by itself."""
    while error is not None:
        if isinstance(error, ClaimsUnavailable | StoreBusy) or is_passing(error):
            return True
        error = error.__cause__
    return False


def in_a_line(error: BaseException) -> str:
    """What people are told of it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
