"""Readiness: whether the database has this revision's read models, and whether Redis responds."""

from typing import Literal

from starlette.responses import Response

from progress.adapters.redis import commands
from progress.adapters.redis.async_client import Client
from progress.errors import RedisUnavailable, Unavailable
from progress.query.http import protocol
from progress.query.read_models.reader import Reader


async def check(reader: Reader, redis: Client | None) -> Response:
    """Return 200 if the instance can serve queries, else 503. Queries do not need Redis."""
    database = await _database_status(reader)
    is_ready = database == "ok"
    status = {"status": "ok" if is_ready else "unavailable", "database": database}
    return protocol.json({**status, "cache": await redis_status(redis)}, 200 if is_ready else 503)


async def redis_status(redis: Client | None) -> Literal["ok", "away", "off"]:
    """Return "off" if no Redis is configured, "away" if Redis does not respond, else "ok"."""
    if redis is None:
        return "off"
    try:
        await redis.run(commands.ping())
    except RedisUnavailable:
        return "away"
    return "ok"


async def _database_status(reader: Reader) -> str:
    try:
        (row,) = await reader.fetch("projections/checkpoints", "ready")
    except Unavailable:
        return "away"
    return "ok" if row["ready"] else "this revision's read models do not exist yet"
