"""Forward posted events to ingest, which `progress serve` has behind the query function's address.

Ingest answers for everything: who may post, the limits, and what became of each event.
"""

from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from progress.adapters.pubsub import loopback
from progress.query.http import protocol

if TYPE_CHECKING:
    import aiohttp

_FORWARDED = (
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "traceparent",
)
_ANSWERED = ("Content-Type", "Progress-Error", "Retry-After", "WWW-Authenticate", "Allow")
_TIMEOUT_S = 120.0  # ingest ends a slow body earlier
_LATER = "the events may not be recorded: post them again later"


class IngestForwarding:
    """The path `/events` of a query function whose ingest has the address `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def answer(self, request: Request) -> Response:
        """Return ingest's response, or 503 if there is none."""
        import aiohttp  # takes 100 ms

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
            kept = aiohttp.TCPConnector(keepalive_timeout=loopback.IDLE_S)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=kept)
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        has_body = "content-length" in headers or "transfer-encoding" in request.headers
        body = request.stream() if has_body else None
        try:
            async with self._session.request(
                request.method, self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                told = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
                return Response(await answer.read(), answer.status, told)
        except (aiohttp.ClientError, TimeoutError, ClientDisconnect):
            return protocol.refuse(_LATER, 503, ((b"retry-after", b"2"),))
