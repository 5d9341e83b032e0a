"""Queries about the past: fold one learner's events up to a moment, then query temporary tables.

A query costs as much as its fold. Therefore all queries of a request about the same learner and
moments share one fold, a request has at most three folds, and three sessions run folds at a time.
One learner's folds use at most two of the three sessions, so that no other learner starves.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import statements
from progress.adapters.postgres.async_client import Database
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.request_scope import RequestScope
from progress.adapters.telemetry import tracing
from progress.errors import HistoryTooLong, InstanceUnavailable, QueryTooComplex
from progress.projections import schema
from progress.settings import Settings

MAX_FOLDS = 3  # of a request

_SESSIONS = 3
_SESSIONS_PER_LEARNER = 2
_HISTORY_TOO_LONG = "PR001"  # the SQLSTATE that fold_as_of raises
_SQL = {"db.system.name": "postgresql"}

_SETTINGS = {
    "search_path": f"pg_temp, {schema.schema_name()}, event_store",
    "temp_buffers": "128MB",  # 150,000 events without a file; allocated as needed
    "client_min_messages": "warning",
}

Parameters = Mapping[str, object]
_Rows = list[asyncpg.Record]
_Key = tuple[object, ...]  # of a query: its text and arguments
_RunFold = Callable[["_Fold"], Coroutine[Any, Any, dict[_Key, _Rows]]]


def check_folds(count: int) -> None:
    """Raise QueryTooComplex if a request needs more folds, by learner and moments, than it may."""
    if count > MAX_FOLDS:
        raise QueryTooComplex(
            f"asOf, knownAt: expected at most {MAX_FOLDS} learners and moments - found {count}"
        )


class AsOfReader:
    """Database that each hold the read models of one learner at one moment at a time."""

    def __init__(self, target: Settings | str) -> None:
        tables = schema.as_of_tables()
        self._database = Database(target, name="past", size=_SESSIONS, init_sql=tables, **_SETTINGS)
        self._semaphores: WeakValueDictionary[object, asyncio.Semaphore] = WeakValueDictionary()

    async def fetch(
        self,
        statement: NumberedStatement,
        parameters: Parameters,
        *,
        as_of: datetime | None,
        known_at: datetime | None,
    ) -> _Rows:
        """Return the rows of a statement about one learner, at one or both of the moments.

        Raise Unavailable if the database does not answer in time or the learner has too many
        events, and QueryTooComplex if the request has used up its folds.
        """
        scope = request_scope.current()
        moments = {"user_id": parameters["user_id"], "as_of": as_of, "known_at": known_at}
        key = (self, *moments.values())
        fold = scope.folds.get(key)
        if fold is None or fold.is_closed:
            check_folds(len(scope.folds.keys() | {key}))
            fold = scope.folds[key] = _Fold(moments, scope, self._run)
        return await fold.fetch(statement, parameters)

    async def _run(self, fold: "_Fold") -> dict[_Key, _Rows]:
        user_id = fold.moments["user_id"]
        async with self._acquire(user_id, fold.scope):
            with tracing.child_span("projections/as_of fold_as_of", "client", _SQL):
                try:
                    return await self._database.run(fold.run, fold.scope)
                except asyncpg.PostgresError as error:
                    if error.sqlstate == _HISTORY_TOO_LONG:
                        raise HistoryTooLong(str(error)) from None
                    raise

    @contextlib.asynccontextmanager
    async def _acquire(self, user_id: object, scope: RequestScope) -> AsyncIterator[None]:
        """Hold one of the learner's sessions; InstanceUnavailable if none becomes free in time."""
        semaphore = self._semaphores.setdefault(user_id, asyncio.Semaphore(_SESSIONS_PER_LEARNER))
        try:
            async with asyncio.timeout(scope.remaining()):
                await semaphore.acquire()
        except TimeoutError:
            raise InstanceUnavailable(
                "too much is asked about this learner's past at once"
            ) from None
        try:
            yield
        finally:
            semaphore.release()

    def close(self) -> None:
        """Close the idle sessions."""
        self._database.close()


class _Fold:
    """A learner at one or both of the moments, and the queries of one request about them.

    The root fields of a request register their queries before the database has replied to any of
    them, so that one fold serves all. A query that comes after the last reply starts another fold.
    """

    def __init__(self, moments: Parameters, scope: RequestScope, run: _RunFold) -> None:
        """Start the fold, in a task that is cancelled when no query waits for it any more."""
        self.moments, self.scope = moments, scope
        self.is_closed = False
        self._queries: dict[_Key, tuple[NumberedStatement, Parameters]] = {}  # equal ones run once
        self._waiters = 0
        self._task = asyncio.create_task(run(self))
        self._task.add_done_callback(self._close)

    async def fetch(self, statement: NumberedStatement, parameters: Parameters) -> _Rows:
        """Return the rows of a statement once the fold has run."""
        key = (statement.text, *statement.arguments(parameters))
        self._queries[key] = statement, parameters
        self._waiters += 1
        try:
            return (await asyncio.shield(self._task))[key]
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._task.cancel()

    async def run(self, session: asyncpg.Connection) -> dict[_Key, _Rows]:
        """Fold the events and run all queries, in one transaction."""
        # The snapshot, the later events and the poisoned events must be of one moment.
        transaction = session.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            has_grown = await self._fold(session)
            rows = await self._fetch_all(session)
        except asyncpg.PostgresError:
            await transaction.rollback()
            raise
        # Both ways no row is left. A commit also truncates the tables, which ends every plan.
        await (transaction.commit() if has_grown else transaction.rollback())
        return rows

    async def _fold(self, session: asyncpg.Connection) -> bool:
        milliseconds = str(int(self.scope.remaining() * 1_000) or 1)
        await self._fetch(session, _load("set_timeout"), {"milliseconds": milliseconds})
        rows = await self._fetch(session, _load("fold_as_of"), self.moments)
        has_grown: bool = rows[0][0]
        return has_grown

    async def _fetch_all(self, session: asyncpg.Connection) -> dict[_Key, _Rows]:
        rows: dict[_Key, _Rows] = {}
        while missing := self._queries.keys() - rows.keys():
            for key in missing:
                rows[key] = await self._fetch(session, *self._queries[key])
        self.is_closed = True
        return rows

    async def _fetch(
        self, session: asyncpg.Connection, statement: NumberedStatement, parameters: Parameters
    ) -> _Rows:
        rows: _Rows = await session.fetch(
            statement.text, *statement.arguments(parameters), timeout=self.scope.remaining()
        )
        return rows

    def _close(self, task: asyncio.Task[dict[_Key, _Rows]]) -> None:
        self.is_closed = True
        if not task.cancelled():
            task.exception()  # mark as retrieved: fetch() raises it, if a query still waits


def _load(block: str) -> NumberedStatement:
    return statements.load("projections/as_of", block)
