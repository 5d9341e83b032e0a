"""The HTTP methods of the push endpoints: POST delivers a push, GET is a health check."""

from flask.typing import ResponseReturnValue

_ALLOWED = ("GET", "POST")


def reject(method: str) -> int | None:
    """Return 405 if the method is not allowed, else None."""
    return None if method in _ALLOWED else 405


def respond(status: int) -> ResponseReturnValue:
    """Return an empty response; 405 lists the allowed methods."""
    return "", status, {"Allow": ", ".join(_ALLOWED)} if status == 405 else {}
