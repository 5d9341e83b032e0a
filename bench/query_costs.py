"""A request's cost in PostgreSQL: the rows and buffers in the plans of the request's statements."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from bench.statements import blocks
from progress.adapters import request_scope
from progress.adapters.postgres.async_client import Database
from progress.auth import Caller, Role
from progress.query.cache.responses import ResponseCache
from progress.query.execution import execute
from progress.query.execution.execute import GraphQLRequest, GraphQLResponse, RequestLog
from progress.query.graphql.context import Context
from progress.query.rate_limits import RateLimiter
from progress.query.read_models.accesses import AccessTrace
from progress.query.read_models.queries import Queries
from progress.query.read_models.reader import Reader, open_reader

_PLAN = re.compile(r"duration: [0-9.]+ ms  plan:\n")
_BUFFERS = [
    f"{place} {how} Blocks"
    for place, how in (("Shared", "Hit"), ("Shared", "Read"), ("Local", "Hit"), ("Local", "Read"))
]
GROUP = "g"  # the group of teachers
_TRACE = f"00-{1:032x}-{1:016x}-01"
_TIMEOUT_S = 120.0  # long enough for every request, even on a slow machine


def _work(message: str) -> int:
    """Return the rows plus buffers of the plan in a server message, or 0 if there is no plan."""
    match = _PLAN.match(message)
    if match is None:
        return 0
    plan = msgspec.json.decode(message[match.end() :])["Plan"]
    return _rows(plan) + sum(int(plan.get(buffer, 0)) for buffer in _BUFFERS)


def _rows(plan: dict[str, Any]) -> int:
    """Return how many rows a plan node and its children returned or filtered out."""
    rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return int(rows * plan["Actual Loops"]) + sum(map(_rows, plan.get("Plans", ())))


class Costing:
    """An executor of GraphQL documents that measures each document's cost and uses no cache."""

    def __init__(self, reader: Reader, caller: Caller, *, explains: bool) -> None:
        self.context = Context(caller, Queries(reader), datetime.now(UTC), AccessTrace(reader))
        self._work = 0
        self._cache = ResponseCache(None, RateLimiter(None, 10**9), reader)
        for pool in (reader._database, reader._as_of._database):  # noqa: SLF001 - see _explain
            if explains:
                _explain(pool, self._add)

    async def answer(
        self, document: str, variables: dict[str, Any] | None = None
    ) -> tuple[GraphQLResponse, int]:
        """Return the response, and how many rows and buffers the document's statements read.

        The number is the same in every run. Counting slows PostgreSQL down.
        """
        self._work = 0
        with request_scope.begin(_TIMEOUT_S):
            answer = await execute.run(
                GraphQLRequest(document, variables),
                self.context,
                cache=self._cache,
                introspection=False,
                log=RequestLog("query", _TRACE),
            )
        await asyncio.sleep(0.001)  # let the event loop deliver the last messages
        return answer, self._work

    def _add(self, message: str) -> None:
        self._work += _work(message)


def _explain(of: Database, record: Callable[[str], None]) -> None:
    """Make each database session report the plans of its statements.

    PostgreSQL sends a plan only to the session that ran the statement. Therefore listen on the
    sessions of the pool itself.
    """
    connecting = of._connector  # noqa: SLF001 - see above

    def explaining() -> Callable[[], Awaitable[asyncpg.Connection]]:
        connect = connecting()

        async def connect_explaining() -> asyncpg.Connection:
            session = await connect()
            await session.execute(blocks("query_costs")["explain"])
            session.add_log_listener(lambda _, notice: record(notice.message))
            return session

        return connect_explaining

    of._connector = explaining  # type: ignore[method-assign] # noqa: SLF001 - as above


@asynccontextmanager
async def open_database(
    url: str, user: str, role: Role, *, explains: bool = True
) -> AsyncIterator[Costing]:
    """Open the database inside the block; yield an executor of this caller's documents.

    Unless it explains, each cost is 0.
    """
    async with open_reader(url) as reader:
        yield Costing(reader, Caller(user, role, groups=(GROUP,)), explains=explains)
