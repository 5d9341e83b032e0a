"""Cache warming: cache the results of the page's query for the most recently active learners.

A result is cached under the text of its selection. The query is therefore read from the page's
script: the page would not find the results of a query with another text.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from progress import files
from progress.adapters.redis import blocking_client, commands
from progress.adapters.redis.async_client import Client
from progress.auth import Caller
from progress.errors import ProgressError, RedisUnavailable
from progress.query.cache.responses import ResponseCache
from progress.query.execution import execute
from progress.query.execution.execute import GraphQLRequest, RequestLog
from progress.query.graphql.context import Context
from progress.query.rate_limits import RateLimiter
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader

_SCRIPT = files.PACKAGE / "query" / "page" / "query.js"
_CONSTANT = re.compile(r"const (\w+) = (?:'([^']*)'|`([^`]*)`);")
_FIRST_TIME_ZONE = timedelta(hours=14)  # the UTC offset of the zone where a day begins first
_TIMEOUT_S = 10.0
_TRACE = f"00-{1:032x}-{1:016x}-01"


def page_query(now: datetime) -> GraphQLRequest:
    """Return the page's query; it is about the user who sends it.

    The variables `from` and `to` are those that `range()` in query.js returns.
    """
    constants: dict[str, str] = {}
    for name, short, long in _CONSTANT.findall(_SCRIPT.read_text(encoding="utf-8")):
        constants[name] = re.sub(r"\$\{(\w+)\}", lambda match: constants[match[1]], short or long)
    year = (now + _FIRST_TIME_ZONE).year
    variables = {"user": None, "from": f"{year - 1}-01-01", "to": f"{year}-12-31"}
    return GraphQLRequest(constants["QUERY"], variables, is_counted=True)


async def warm(
    url: str, reader: Reader, learners: int, on_progress: Callable[[int, int], None]
) -> tuple[int, int]:
    """Run the page's query for up to `learners` learners; cache the results in the Redis at `url`.

    Return the number of learners, and the number of those whose results were all cached before.
    """
    redis = Client(url, timeout_s=_TIMEOUT_S)
    cache = ResponseCache(redis, RateLimiter(redis, 1), reader)
    query = page_query(datetime.now(UTC))
    rows = await reader.fetch("query/warm", "list_learners", first=learners)
    queries, trace, log = Queries(reader), AccessTrace(reader), RequestLog("query", _TRACE)
    hits = 0
    try:
        await _wait_for_writes(redis)
        for done, row in enumerate(rows, start=1):
            caller = Caller(row["user_id"], "learner")
            context = Context(caller, queries, datetime.now(UTC), trace)
            answer = await execute.run(query, context, cache=cache, introspection=False, log=log)
            if answer.errors:
                raise ProgressError(f"the page's query fails: {answer.errors[0]['message']}")
            await _wait_for_writes(redis)
            hits += answer.extensions.get("cache") == "HIT"
            on_progress(done, len(rows))
    finally:
        await redis.close()
    return len(rows), hits


async def _wait_for_writes(redis: Client) -> None:
    """Wait until Redis has done all earlier writes; raise RedisUnavailable if it does not reply."""
    try:
        await redis.run(commands.ping())
    except RedisUnavailable:
        why = "Redis does not respond: check that it is running, and that REDIS_URL names it"
        raise RedisUnavailable(why) from None


def clear(url: str) -> None:
    """Drop all cached results.

    Call this after a restore. A restore sets the versions back to earlier values. Without this
    call, an old result would look current as soon as its version is used again.
    """
    try:
        blocking_client.delete_everything(url)
    except RedisUnavailable as error:
        raise RedisUnavailable(
            f"{error}; check that Redis is running, and that REDIS_URL names it"
        ) from error
