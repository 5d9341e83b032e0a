"""Costs of a request in PostgreSQL: the rows and buffers of the plans of its statements."""

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
from progress.adapters.postgres.async_client import Sessions
from progress.query.auth import Caller, Role
from progress.query.cache.cache import Cache
from progress.query.execution import execute
from progress.query.execution.execute import Answer, Asked
from progress.query.graphql.context import Context
from progress.query.read_models import reader as model_reader

_PLAN = re.compile(r"duration: [0-9.]+ ms  plan:\n")
_BUFFERS = [
    f"{place} {how} Blocks"
    for place, how in (("Shared", "Hit"), ("Shared", "Read"), ("Local", "Hit"), ("Local", "Read"))
]
_TRACE = f"00-{1:032x}-{1:016x}-01"
_TIMEOUT_S = 120.0  # a machine may be slow: it is measured, not bounded


def _work(message: str) -> int:
    """The rows and buffers of the plan that the server tells; 0 where the message is none."""
    found = _PLAN.match(message)
    if found is None:
        return 0
    plan = msgspec.json.decode(message[found.end() :])["Plan"]
    return _rows(plan) + sum(int(plan.get(each, 0)) for each in _BUFFERS)


def _rows(plan: dict[str, Any]) -> int:
    """The rows that a node and those below it have found, and those that it has left out."""
    found = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
    return int(found * plan["Actual Loops"]) + sum(map(_rows, plan.get("Plans", ())))


class Costing:
    """Answers documents over one database, without a cache."""

    def __init__(self, reader: model_reader.Reader, caller: Caller, *, explains: bool) -> None:
        self.context = Context(caller, datetime.now(UTC))
        self._reader, self._work = reader, 0
        self._cache = Cache(None, per_minute=10**9)
        if explains:
            for each in (reader._sessions, reader.past._sessions):  # noqa: SLF001 - nobody else asks
                _explain(each, self._note)

    async def answer(self, document: str) -> tuple[Answer, int]:
        """The answer, and the rows and buffers of its statements: the same in each run.

        Counting them takes the database time: where it is measured, they are left at 0.
        """
        self._work = 0
        with model_reader.using(self._reader), request_scope.begin(_TIMEOUT_S):
            answer = await execute.answered(
                Asked(document), self.context, cache=self._cache, introspection=False, trace=_TRACE
            )
        await asyncio.sleep(0.001)  # the loop hands the last messages over
        return answer, self._work

    def _note(self, message: str) -> None:
        self._work += _work(message)


def _explain(of: Sessions, note: Callable[[str], None]) -> None:
    """Have each session tell what its statements cost."""
    connecting = of._connecting  # noqa: SLF001 - a session tells its own client alone

    def explaining() -> Callable[[], Awaitable[asyncpg.Connection]]:
        connect = connecting()

        async def opened() -> asyncpg.Connection:
            session = await connect()
            await session.execute(blocks("expensive")["explain"])
            session.add_log_listener(lambda _, said: note(said.message))
            return session

        return opened

    of._connecting = explaining  # type: ignore[method-assign] # noqa: SLF001 - as above


@asynccontextmanager
async def opened(
    url: str, user: str, role: Role, *, explains: bool = True
) -> AsyncIterator[Costing]:
    """Costs of what the caller asks of the database, inside the block."""
    reader = model_reader.Reader(url)
    try:
        yield Costing(reader, Caller(user, role, float("inf")), explains=explains)
    finally:
        await reader.close()
