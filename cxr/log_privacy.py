"""What readers of films say beside their answer: warnings and log lines, which quote names, dates and whatever else stands in a tag."""

import logging
import warnings

QUOTING = ("pydicom", "highdicom")  # they log the text of each warning too, and at lower levels any value
_nowhere = logging.NullHandler()  # without a handler Python would write to stderr


def withhold_texts() -> None:
    """For this process, from now on: a warning is written by its class and place, without its text, and readers' loggers are silent.

    Called where a process begins, by whoever reads films of patients: it changes what every library says.
    """
    warnings.formatwarning = _by_place
    for name in QUOTING:
        logger = logging.getLogger(name)
        logger.addHandler(_nowhere)
        logger.propagate = False  # no level: pydicom sets its own when it is imported


def _by_place(message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    return f"{filename}:{lineno}: {category.__name__} (its text is withheld: it may quote a film)\n"
