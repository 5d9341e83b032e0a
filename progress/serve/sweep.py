"""The sweep of one machine: it finds each second what nobody woke, and calls project for it.

What a killed process, a lost call or a database that was away has left is in the database. The
sweep also repeats operations that failed, as Pub/Sub does in the cloud.
"""

import asyncio
from typing import NoReturn

import asyncpg

from progress.adapters.postgres import async_client
from progress.adapters.postgres.statements import load
from progress.adapters.pubsub import loopback, wakeups
from progress.adapters.telemetry import logs
from progress.errors import DatabaseUnavailable
from progress.projections import schema as read_models
from progress.projections.projector import SHARDS
from progress.projections.turns import OPERATIONS
from progress.serve import ports

_INTERVAL_S = 1.0
_TIMEOUT_S = 10.0  # of a statement
_DEADLINE_S = 600.0  # of a call, as of a push of Pub/Sub
# The first and the longest pause after a failed fold or publication, and after a failed operation.
_WAKE_PAUSES_S = 5.0, 5.0
_PAUSES_S = 10.0, 600.0
_REPEATED = (500, 503)
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_ENTER, _DUE = (load("serve/sweep", block).text for block in ("enter", "due"))


class Sweep:
    """Calls of project, one at a time for each command; the database says which are due."""

    def __init__(self, database_url: str, project_url: str, key: str, publish_events: str) -> None:
        self._database_url, self._project_url, self._key = database_url, project_url, key
        self._publish_events = publish_events
        self._session: asyncpg.Connection | None = None
        self._calls: set[bytes] = set()
        self._pauses: dict[bytes, tuple[float, float]] = {}  # seconds, and when the pause ends

    async def keep(self) -> NoReturn:
        async with asyncio.TaskGroup() as group:
            try:
                await self._repeat(group)
            finally:
                self._end_session()

    async def _repeat(self, group: asyncio.TaskGroup) -> NoReturn:
        is_told = False
        while True:
            try:
                self._call_all(group, *await self._find())
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

    async def _find(self) -> tuple[list[bytes], list[bytes]]:
        """Return the commands that are due: wake-ups, and operations, the oldest first."""
        session = self._session
        if session is None or session.is_closed():
            session = await async_client.connect(self._database_url, name="sweep")
            self._session = session
        shards, schemas = set[int](), [read_models.schema_name()]
        for schema in schemas:
            await session.fetchrow(_ENTER, f"{schema}, event_store", timeout=_TIMEOUT_S)
            due = await session.fetchrow(_DUE, self._publish_events, timeout=_TIMEOUT_S)
            shards.update(due["shards"])
            # Nobody waits for the schemas that are not read.
            read = due["schemas"][: max(1, due["read"])]
            schemas += [each for each in read if each not in schemas]
        operations = [wakeups.operation_command(each) for each in due["operations"]]
        return [wakeups.wake_command(shard) for shard in sorted(shards)], operations

    def _call_all(
        self, group: asyncio.TaskGroup, wakes: list[bytes], operations: list[bytes]
    ) -> None:
        due, now = {*wakes, *operations}, asyncio.get_running_loop().time()
        kept = due | self._calls
        self._pauses = {each: pause for each, pause in self._pauses.items() if each in kept}

        def is_free(command: bytes) -> bool:
            _, ends_at = self._pauses.get(command, (0, 0))
            return command not in self._calls and now >= ends_at

        free = OPERATIONS - len(self._calls.difference(map(wakeups.wake_command, SHARDS)))
        chosen = [*filter(is_free, wakes), *[*filter(is_free, operations)][:free]]
        for command in chosen:
            pauses = _PAUSES_S if command in operations else _WAKE_PAUSES_S
            self._calls.add(command)
            group.create_task(self._call(command, *pauses))

    async def _call(self, command: bytes, first_s: float, longest_s: float) -> None:
        body = wakeups.push_body(command, {})
        request = loopback.encode_post(self._project_url, body, self._key)
        status = await ports.ask(self._project_url, request, timeout_s=_DEADLINE_S)
        self._calls.discard(command)
        if status in _REPEATED:
            before, _ = self._pauses.get(command, (first_s / 2, 0))
            seconds = min(2 * before, longest_s)
            ends_at = asyncio.get_running_loop().time() + seconds
            self._pauses[command] = seconds, ends_at
        else:
            self._pauses.pop(command, None)
