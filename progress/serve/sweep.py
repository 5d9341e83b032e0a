"""The sweep of one machine: it finds each second what nobody woke, and calls project for it.

What a killed process, a lost call or a database that was away has left is in the database. The
sweep also repeats operations that failed, as Pub/Sub does in the cloud.
"""

import asyncio
import contextlib
from typing import NamedTuple, NoReturn

import asyncpg

from progress.adapters.postgres import async_client
from progress.adapters.postgres.statements import load
from progress.adapters.pubsub import loopback, wakeups
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable
from progress.projections import schema as read_models
from progress.projections.turns import OPERATIONS
from progress.serve import ports

_INTERVAL_S = 1.0
_TIMEOUT_S = 10.0  # of a statement
_DEADLINE_S = 600.0  # of a call, as of a push of Pub/Sub
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_ENTER, _DUE = (load("serve/sweep", block).text for block in ("enter", "due"))


class _Rhythm(NamedTuple):
    """The first and the longest pause in seconds, and the statuses that a pause follows."""

    first_s: float
    longest_s: float
    statuses: tuple[int, ...] = (500, 503)


_FOLD = _Rhythm(5, 5)
_PUBLICATION = _Rhythm(5, 5, (204, 500, 503))  # a receiver may be away after a wake-up, too
_OPERATION = _Rhythm(10, 600)


class Sweep:
    """Calls of project, one at a time for each command; the database says which are due."""

    def __init__(self, database_url: str, project_url: str, key: str, publish_events: str) -> None:
        self._database_url, self._project_url, self._key = database_url, project_url, key
        self._publish_events = publish_events
        self._session: asyncpg.Connection | None = None
        self._calls: dict[bytes, _Rhythm] = {}
        self._pauses: dict[bytes, tuple[float, float]] = {}  # seconds, and when the pause ends

    async def keep(self) -> NoReturn:
        is_told = False
        async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as ends:
            ends.callback(self._end_session)
            while True:
                try:
                    self._call_all(group, await self._find())
                    is_told = False
                except (DatabaseUnavailable, OSError, *_ERRORS) as error:
                    self._end_session()
                    if not is_told:
                        logs.write("WARNING", f"the database does not say what is due: {error}")
                    is_told = True
                await asyncio.sleep(_INTERVAL_S)

    def _end_session(self) -> None:
        if self._session:
            self._session.terminate()
        self._session = None

    async def _find(self) -> dict[bytes, _Rhythm]:
        """Return the commands that are due; of the operations, the oldest comes first."""
        session = self._session
        if session is None or session.is_closed():
            session = await async_client.connect(self._database_url, name="sweep")
            self._session = session
        behind, schemas = set[int](), [read_models.schema_name()]
        for schema in schemas:
            await session.fetchrow(_ENTER, f"{schema}, event_store", timeout=_TIMEOUT_S)
            row = await session.fetchrow(_DUE, self._publish_events, timeout=_TIMEOUT_S)
            behind.update(row["behind"])
            # Nobody waits for the schemas that are not read.
            read = row["schemas"][: max(1, row["read"])]
            schemas += [each for each in read if each not in schemas]
        due = {wakeups.wake_command(shard): _PUBLICATION for shard in row["unpublished"]}
        due |= {wakeups.wake_command(shard): _FOLD for shard in behind}
        return due | {wakeups.operation_command(each): _OPERATION for each in row["operations"]}

    def _call_all(self, group: asyncio.TaskGroup, due: dict[bytes, _Rhythm]) -> None:
        now = asyncio.get_running_loop().time()
        kept = due.keys() | self._calls.keys()
        self._pauses = {each: pause for each, pause in self._pauses.items() if each in kept}
        for command, rhythm in due.items():
            _, ends_at = self._pauses.get(command, (0, 0))
            is_full = [*self._calls.values()].count(_OPERATION) == OPERATIONS
            if command in self._calls or now < ends_at or (rhythm == _OPERATION and is_full):
                continue
            self._calls[command] = rhythm
            group.create_task(self._call(command, rhythm))

    async def _call(self, command: bytes, rhythm: _Rhythm) -> None:
        push = {"data": wakeups.push_body(command, {}), "headers": loopback.headers(self._key)}
        status = await ports.ask("POST", self._project_url, timeout_s=_DEADLINE_S, **push)
        del self._calls[command]
        before, _ = self._pauses.pop(command, (rhythm.first_s / 2, 0))
        if status in rhythm.statuses:
            seconds = min(2 * before, rhythm.longest_s)
            self._pauses[command] = seconds, asyncio.get_running_loop().time() + seconds
