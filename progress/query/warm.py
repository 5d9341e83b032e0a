"""Warming: what the page asks is asked for those learners who did something last, and kept.

The document is the page's own, read where the page has it: an answer is kept by the words of its
question, so that another document would warm nothing.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from progress.adapters.redis.sockets import RedisSocket
from progress.adapters.redis.url import parse_url
from progress.errors import CacheAway, ProgressError
from progress.query.auth import Caller
from progress.query.cache.cache import Cache
from progress.query.execution import execute
from progress.query.execution.execute import Asked
from progress.query.graphql.context import Context
from progress.query.read_models import reader

_PAGE = Path(__file__).parent / "page" / "question.js"
_CONSTANT = re.compile(r"const (\w+) = (?:'([^']*)'|`([^`]*)`);")
_WHERE_LATEST = timedelta(hours=14)  # ahead of UTC
_TIMEOUT_S = 10.0  # seconds
_TRACE = f"00-{1:032x}-{1:016x}-01"


def page(now: datetime) -> Asked:
    """What the page asks of its own learner at that moment: see ranges() in question.js."""
    said: dict[str, str] = {}
    for name, short, long in _CONSTANT.findall(_PAGE.read_text(encoding="utf-8")):
        said[name] = re.sub(r"\$\{(\w+)\}", lambda match: said[match[1]], short or long)
    year = (now + _WHERE_LATEST).year
    variables = {
        "user": None,
        "from": f"{year - 1}-01-01",
        "to": f"{year}-12-31",
        "from2": f"{year - 3}-01-01",
        "to2": f"{year - 2}-12-31",
    }
    return Asked(said["QUESTION"], variables, is_counted=True)


async def warm(url: str, learners: int, on_kept: Callable[[int, int], None]) -> tuple[int, int]:
    """Ask what the page asks for so many learners, through the cache at `url`.

    How many there were, and of how many all was kept already. On the block's reader.
    """
    cache = Cache(url, per_minute=1, timeout_s=_TIMEOUT_S)
    asked = page(datetime.now(UTC))
    found = await reader.rows("query/warm", "learners", first=learners)
    hits = 0
    try:
        await _see_kept(cache)
        for done, row in enumerate(found, start=1):
            context = Context(Caller(row["user_id"], "learner"), datetime.now(UTC))
            answer = await execute.answered(
                asked, context, cache=cache, introspection=False, trace=_TRACE
            )
            if answer.errors:
                raise ProgressError(f"the page's question fails: {answer.errors[0]['message']}")
            await _see_kept(cache)
            hits += answer.extensions.get("cache") == "HIT"
            on_kept(done, len(found))
    finally:
        await cache.close()
    return len(found), hits


async def _see_kept(cache: Cache) -> None:
    """See that Redis replies, which it does when it has kept what was sent before. CacheAway."""
    if await cache.state() != "ok":
        raise CacheAway("Redis does not answer: see that it runs, and that REDIS_URL names it")


def forget(url: str) -> None:
    """Drop all that is kept: after a restore versions begin again, and would name old answers."""
    try:
        line = RedisSocket(parse_url(url), seconds=_TIMEOUT_S)
        line.run([("FLUSHDB",)], seconds=_TIMEOUT_S)
        line.close()
    except OSError as fault:
        raise CacheAway(f"{fault}; see that it runs, and that REDIS_URL names it") from fault
