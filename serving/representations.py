"""In which form an answer goes out, from the request's Accept header (RFC 9110, section 12.5.1)."""

from collections.abc import Sequence

from serving.errors import ProblemError

JSON, PNG, REPORT = "application/json", "image/png", "application/dicom"
FORMS = (JSON, PNG, REPORT)


def acceptable(accept: str, offered: Sequence[str] = FORMS) -> list[str]:
    """The offered forms that the header allows, what it likes best first; in their own order where it does not care.

    Raises ProblemError `not-acceptable` where it allows none.
    """
    ranges = [_range(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    weights = {form: _weight(form, ranges) for form in offered}
    forms = sorted((form for form in offered if weights[form] > 0), key=lambda form: -weights[form])  # keeps the order of equals
    if not forms:
        raise ProblemError("not-acceptable", f"The answer can be {', '.join(offered)}. Send one of them as Accept, or none.")
    return forms


def _range(part: str) -> tuple[str, float]:
    """ "image/png;q=0.5" → ("image/png", 0.5); a weight that is no number counts as none, so the form is not sent unasked."""
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    weight = next((value for key, _, value in (p.partition("=") for p in parameters) if key.strip() == "q"), "1")
    try:
        return name, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return name, 0.0


def _weight(form: str, ranges: list[tuple[str, float]]) -> float:
    """Of the most precise range that names the form; 0 where none does."""
    for name in (form, form.split("/")[0] + "/*", "*/*"):
        named = [weight for given, weight in ranges if given == name]
        if named:
            return max(named)
    return 0.0
