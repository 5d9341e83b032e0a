"""What the platform asks of an instance: liveness, readiness, and whether it has started."""

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from starlette.requests import Request
from starlette.responses import Response

from progress.adapters import startup
from progress.adapters.redis import commands
from progress.errors import RedisUnavailable, Unavailable
from progress.event_store import timestamps
from progress.query.execution.execute import RequestLog
from progress.query.http import protocol
from progress.query.http.protocol import Headers
from progress.query.read_models.reader import Reader

if TYPE_CHECKING:
    from progress.adapters.redis.async_client import Client

_SAFE_METHODS = ("GET", "HEAD")
_HOLDS_S = 1.0  # how long an answer about readiness holds


async def say_time(request: Request, _headers: Headers, _log: RequestLog) -> Response:
    """Return the server's time, by which a client corrects the clock of its device."""
    if request.scope["method"] not in _SAFE_METHODS:
        return _reject_unsafe(request)
    now = timestamps.to_text(datetime.now(UTC))
    return protocol.json({"status": "ok", "now": now})


async def probe(request: Request, readiness: "Readiness") -> Response:
    if request.scope["method"] not in _SAFE_METHODS:
        return _reject_unsafe(request)
    if request.scope["path"] == "/ready":
        return await readiness.tell()
    # In a thread, because the start-up probe connects to the database.
    passes = await asyncio.to_thread(startup.probe().passes)
    return protocol.json({"status": "ok" if passes else "unavailable"}, 200 if passes else 503)


def _reject_unsafe(request: Request) -> Response:
    allow = ((b"allow", b"GET, HEAD, OPTIONS"),)
    if request.scope["method"] == "OPTIONS":
        return protocol.Reply(b"", 204, allow)
    return protocol.refuse("expected GET", 405, allow)


class Readiness:
    """Whether the instance can serve queries. Anybody may ask, so at most one question is open.

    Its answer is everybody's for a second, and it takes no session of a query.
    """

    def __init__(self, reader: Reader, redis: "Client | None") -> None:
        self._reader, self._redis = reader, redis
        self._question, self._answered_at = asyncio.Lock(), 0.0
        self._status: dict[str, str] = {}

    async def tell(self) -> Response:
        """Return 200 if the instance can serve queries, else 503. Queries do not need Redis."""
        async with self._question:
            if time.monotonic() - self._answered_at > _HOLDS_S:
                database = await _database_status(self._reader)
                status = {"status": "ok" if database == "ok" else "unavailable"}
                status |= {"database": database, "cache": await redis_status(self._redis)}
                self._status, self._answered_at = status, time.monotonic()
        return protocol.json(self._status, 200 if self._status["database"] == "ok" else 503)


async def redis_status(redis: "Client | None") -> Literal["ok", "rejects", "away", "off"]:
    """Return "off" if no Redis is configured, "away" if Redis does not respond, else "ok".

    Return "rejects" if Redis would reject what is stored in it, for example by a script.
    """
    if redis is None:
        return "off"
    try:
        (reply,) = await redis.run(commands.check_writes())
    except RedisUnavailable:
        return "away"
    return "rejects" if isinstance(reply, Exception) else "ok"


async def _database_status(reader: Reader) -> str:
    try:
        (row,) = await reader.fetch_apart("projections/checkpoints", "ready")
    except Unavailable:
        return "away"
    return "ok" if row["ready"] else "this revision's read models do not exist yet"
