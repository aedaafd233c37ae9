"""What every answer carries for browsers, whatever its route and status."""

from starlette.datastructures import MutableHeaders

POLICY = "; ".join(
    f"{kind} {allowed}"
    for kind, allowed in {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' blob: data:",
        "connect-src": "'self'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }.items()
)
SECURITY = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",  # an answer is about a patient: neither the browser nor a proxy keeps it
}


def secure(headers: MutableHeaders) -> None:
    """Set all of them."""
    for name, value in SECURITY.items():
        headers[name] = value
