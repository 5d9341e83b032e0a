"""Messages between the processes of one machine, over the loopback instead of Pub/Sub."""

import contextlib
import http.client
from urllib.parse import urlsplit

from progress.errors import IngestBusy, PubSubUnavailable

# The functions' servers close an idle connection after 2 s (gunicorn's `keepalive`). A client that
# keeps one for longer may post on a connection that is being closed.
IDLE_S = 1.0


def post(url: str, body: bytes, *, timeout_s: float, **headers: str) -> bytes:
    """Send JSON with POST; return the response's body.

    `timeout_s` limits each wait for the other process. Raise PubSubUnavailable if the status is
    neither 200 nor 204, or if there is no response; it is IngestBusy if the status is 429.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request(
            "POST", parts.path, body, {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        answer = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise PubSubUnavailable(f"no response from {parts.netloc}: {error}") from error
    finally:
        connection.close()
    if response.status not in (200, 204):
        kind = IngestBusy if response.status == 429 else PubSubUnavailable
        raise kind(f"the status of {parts.netloc} is {response.status}")
    return answer


def find_status(url: str, *, timeout_s: float) -> int | None:
    """Return the status of a GET; None if there is no response."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=timeout_s)) as asked:
        try:
            asked.request("GET", parts.path)
            return asked.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
