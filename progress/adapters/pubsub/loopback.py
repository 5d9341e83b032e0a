"""Calls between the processes of one machine, over the loopback instead of Pub/Sub."""

import contextlib
import http.client
from urllib.parse import urlsplit

from progress.errors import PubSubUnavailable

# The functions' servers close an idle connection after 2 s (gunicorn's `keepalive`). A client that
# keeps one for longer may post on a connection that is being closed.
IDLE_S = 1.0


def headers(key: str) -> dict[str, str]:
    """Return the headers of a call with the key of the system."""
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def send(url: str, body: bytes, key: str, *, timeout_s: float) -> None:
    """Post JSON, and do not wait for the response; raise PubSubUnavailable if nobody listens."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=timeout_s)) as called:
        try:
            called.request("POST", parts.path or "/", body, headers(key))
        except OSError as error:
            raise PubSubUnavailable(f"nobody listens at {parts.netloc}: {error}") from error


def find_status(url: str, *, timeout_s: float) -> int | None:
    """Return the status of a GET; None if there is no response."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=timeout_s)) as asked:
        try:
            asked.request("GET", parts.path)
            return asked.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
