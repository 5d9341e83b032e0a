"""Messages between the processes of one machine, over the loopback instead of Pub/Sub."""

import contextlib
import http.client
from urllib.parse import urlsplit

from progress.errors import PubSubUnavailable

# The functions' servers close an idle connection after 2 s (gunicorn's `keepalive`). A client that
# keeps one for longer may post on a connection that is being closed.
IDLE_S = 1.0


def post(url: str, body: bytes, *, timeout_s: float, **headers: str) -> None:
    """Send JSON with POST.

    `timeout_s` limits each wait for the other process. Raise PubSubUnavailable if the status is
    not 200, or if there is no response.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=timeout_s)
    try:
        connection.request(
            "POST", parts.path, body, {"Content-Type": "application/json", **headers}
        )
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException) as error:
        raise PubSubUnavailable(f"no response from {parts.netloc}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise PubSubUnavailable(f"the status of {parts.netloc} is {response.status}")


def find_status(url: str, *, timeout_s: float) -> int | None:
    """Return the status of a GET; None if there is no response."""
    parts = urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=timeout_s)) as asked:
        try:
            asked.request("GET", parts.path)
            return asked.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
