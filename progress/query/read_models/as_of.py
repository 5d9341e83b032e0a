"""Queries about the past: fold one learner's events up to a past time, then query temporary tables.

The fold takes most of the time of such a query. All queries of a request about the same learner and
time therefore share one fold. A fold for a later time continues from the fold for an earlier time,
unless the rows could differ from those of a new fold. A request may contain at most three different
pairs of a learner and a past time. A process has three sessions for folds
(DATABASE_PAST_SESSIONS). The folds of one learner use at most two sessions, so that other learners
can use the third.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import Any
from weakref import WeakValueDictionary

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import async_client, statements
from progress.adapters.postgres.async_client import Database
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.request_scope import RequestScope
from progress.adapters.telemetry import tracing
from progress.errors import (
    HistoryTooLong,
    InstanceUnavailable,
    QueryTooComplex,
    StatementFailed,
)
from progress.projections import schema
from progress.settings import Settings

MAX_FOLDS = 3  # per request

_SESSIONS_PER_LEARNER = 2
_HISTORY_TOO_LONG = "PR001"  # the SQLSTATE that fold_as_of raises
_SQL = {"db.system.name": "postgresql"}

_SETTINGS = {
    "search_path": f"pg_temp, {schema.schema_name()}, event_store",
    "temp_buffers": "128MB",  # enough for 150,000 events; allocated as needed
    "client_min_messages": "warning",
}

Parameters = Mapping[str, object]
Moments = tuple[datetime | None, datetime | None]  # as_of, known_at
_Rows = list[asyncpg.Record]
_Key = tuple[object, ...]  # the text and the arguments of a query
_Results = dict[tuple[Moments, _Key], _Rows]
_RunFolds = Callable[["_Folds"], Coroutine[Any, Any, _Results]]

_END = datetime.max.replace(tzinfo=UTC)


def check_folds(count: int) -> None:
    if count > MAX_FOLDS:
        raise QueryTooComplex(
            f"asOf, knownAt: expected at most {MAX_FOLDS} pairs of learner and time - found {count}"
        )


class AsOfReader:
    """Database sessions, each with the read models of one learner at a past time."""

    def __init__(self, target: Settings | str, settings: Settings) -> None:
        self._database = Database(
            target,
            name="past",
            size=settings.database_past_sessions,
            idle_s=settings.database_pool_idle_seconds,
            init_sql=schema.as_of_tables(),
            **_SETTINGS,
        )
        self._semaphores: WeakValueDictionary[object, asyncio.Semaphore] = WeakValueDictionary()

    async def fetch(
        self,
        statement: NumberedStatement,
        parameters: Parameters,
        *,
        as_of: datetime | None,
        known_at: datetime | None,
    ) -> _Rows:
        """Return the rows of a statement about one learner at these past times.

        Raise Unavailable if the database does not respond in time, or if the learner has too many
        events. Raise QueryTooComplex if the request has used up its folds.
        """
        scope = request_scope.current()
        user_id, moments = parameters["user_id"], (as_of, known_at)
        folds: _Folds | None = scope.folds.get((self, user_id))
        before = set() if folds is None else folds.moments
        count = sum(len(each.moments) for each in scope.folds.values())
        check_folds(count + (moments not in before))
        if folds is None or not folds.accepts(moments):
            folds = scope.folds[self, user_id] = _Folds(user_id, scope, self._run, before)
        return await folds.fetch(statement, parameters, moments)

    async def _run(self, folds: "_Folds") -> _Results:
        async with self._acquire(folds.user_id, folds.scope):
            with tracing.child_span("projections/as_of fold_as_of", "client", _SQL):
                try:
                    return await self._database.run(folds.run, folds.scope)
                except StatementFailed as error:
                    if error.sqlstate == _HISTORY_TOO_LONG:
                        raise HistoryTooLong(str(error)) from None
                    raise

    @contextlib.asynccontextmanager
    async def _acquire(self, user_id: object, scope: RequestScope) -> AsyncIterator[None]:
        """Hold a session for the learner; raise InstanceUnavailable if none is free in time."""
        semaphore = self._semaphores.setdefault(user_id, asyncio.Semaphore(_SESSIONS_PER_LEARNER))
        try:
            async with asyncio.timeout(scope.remaining()):
                await semaphore.acquire()
        except TimeoutError:
            raise InstanceUnavailable(
                "too many queries about this learner's past are running: try again"
            ) from None
        try:
            yield
        finally:
            semaphore.release()

    def close(self) -> None:
        self._database.close()


class _Folds:
    """The folds that a request needs for one learner: the past times, and each time's queries.

    All root fields of a request register their queries before the first reply of the database, and
    so one task serves all of them. A query that is registered after the last reply needs another
    task.
    """

    def __init__(
        self, user_id: object, scope: RequestScope, run: _RunFolds, moments: set[Moments]
    ) -> None:
        """Start the folds in a task, which is cancelled when no query waits for it any more."""
        self.user_id, self.scope, self.moments = user_id, scope, moments
        self._queries: dict[Moments, dict[_Key, tuple[NumberedStatement, Parameters]]] = {}
        self._resolved: set[Moments] = set()
        self._is_closed = False
        self._waiters = 0
        self._task = asyncio.create_task(run(self))
        self._task.add_done_callback(self._close)

    def accepts(self, moments: Moments) -> bool:
        """Return whether a query about these past times can still be added."""
        return not self._is_closed and moments not in self._resolved

    async def fetch(
        self, statement: NumberedStatement, parameters: Parameters, moments: Moments
    ) -> _Rows:
        """Wait for the fold up to these past times; return the rows of the statement."""
        key = (statement.text, *statement.arguments(parameters))  # equal queries run once
        self.moments.add(moments)
        self._queries.setdefault(moments, {})[key] = statement, parameters
        self._waiters += 1
        try:
            return (await asyncio.shield(self._task))[moments, key]
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._task.cancel()

    async def run(self, session: asyncpg.Connection) -> _Results:
        results: _Results = {}
        self._resolved.clear()  # run() is called again after a transient error
        while moments := sorted(self._queries.keys() - self._resolved, key=_order):
            await self._run_in_order(session, moments, results)
        self._is_closed = True
        return results

    async def _run_in_order(
        self, session: asyncpg.Connection, moments: list[Moments], results: _Results
    ) -> None:
        """Fold up to the earliest time, then continue to the later times, in one transaction.

        If the fold cannot continue to a time, stop; the next transaction folds anew for this time.
        """
        # One transaction, so that the stored snapshot, the later events and the poisoned events
        # are consistent.
        has_grown = False
        async with async_client.snapshot(session) as transaction:
            for number, each in enumerate(moments, 1):
                grown = await self._fold(session, each, number == 1, number == len(moments))
                has_grown |= bool(grown)
                if grown is None:
                    break
                await self._fetch_all(session, each, results)
        # Commit and rollback both empty the tables. Only a commit frees their space, but it also
        # invalidates all query plans. So commit only if the tables have grown large.
        await (transaction.commit() if has_grown else transaction.rollback())

    async def _fold(
        self, session: asyncpg.Connection, moments: Moments, is_first: bool, is_last: bool
    ) -> bool | None:
        """Fold; return whether the tables have grown, or None if the fold cannot continue."""
        milliseconds = str(int(self.scope.remaining() * 1_000) or 1)
        await self._fetch(session, _load("set_timeout"), {"milliseconds": milliseconds})
        as_of, known_at = moments
        parameters = {
            "user_id": self.user_id,
            "as_of": as_of,
            "known_at": known_at,
            "is_last": is_last,
        }
        block = _load("fold_as_of" if is_first else "fold_on_as_of")
        rows = await self._fetch(session, block, parameters)
        has_grown: bool | None = rows[0][0]
        return has_grown

    async def _fetch_all(
        self, session: asyncpg.Connection, moments: Moments, results: _Results
    ) -> None:
        queries = self._queries[moments]
        while missing := [key for key in queries if (moments, key) not in results]:
            for key in missing:
                results[moments, key] = await self._fetch(session, *queries[key])
        self._resolved.add(moments)

    async def _fetch(
        self, session: asyncpg.Connection, statement: NumberedStatement, parameters: Parameters
    ) -> _Rows:
        rows: _Rows = await session.fetch(
            statement.text, *statement.arguments(parameters), timeout=self.scope.remaining()
        )
        return rows

    def _close(self, task: asyncio.Task[_Results]) -> None:
        self._is_closed = True
        if not task.cancelled():
            task.exception()  # mark the error as retrieved; fetch() raises it in waiting queries


def _order(moments: Moments) -> tuple[datetime, datetime]:
    as_of, known_at = moments
    return as_of or _END, known_at or _END


def _load(block: str) -> NumberedStatement:
    return statements.load("projections/as_of", block)
