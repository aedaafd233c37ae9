"""What the launcher answers instead of passing a call on. Each becomes `{"message": …}` with its status, as the engine's own errors."""

SHOWN = 80


class Problem(Exception):
    """A call that is not passed on."""

    status = 500


class Malformed(Problem):
    """Not readable as what it claims to be."""

    status = 400


class TooLarge(Problem):
    """A body beyond the limit."""

    status = 413


class TooSlow(Problem):
    """A body that does not come to an end."""

    status = 408


class Refused(Problem):
    """Readable, and outside of what is allowed."""

    status = 403

    def __init__(self, field: str, found: object, allowed: str) -> None:
        super().__init__(f"{field}: found {show(found)}; allowed: {allowed}")


class NoSuchContainer(Problem):
    """There is none, or it is not ours: the caller cannot tell which."""

    status = 404

    def __init__(self, name: str) -> None:
        super().__init__(f"No such container: {name}")


class Full(Problem):
    """As many containers as are allowed are there."""

    status = 409


class EngineAway(Problem):
    """The engine does not answer, or is too old."""

    status = 503


def show(value: object) -> str:
    """The value as an error shows it, cut to a line."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
