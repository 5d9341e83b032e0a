"""Questions about the past: the learner's events folded anew, in tables of the session's own.

They cost what the fold costs. So the questions of a request about one learner at the same moments
share a fold, a request has at most three folds, and only a few are made at once: the others wait.
Those about one learner never take all the places, so that nobody asks the others out.
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

FOLDS = 3  # of a request

_SESSIONS = 3
_OF_A_LEARNER = 2
_TOO_LONG = "PR001"  # as fold_as_of says it
_SQL = {"db.system.name": "postgresql"}

_SETTINGS = {
    "search_path": f"pg_temp, {schema.schema_name()}, event_store",
    "temp_buffers": "128MB",  # 150,000 events without a file; taken as they are needed
    "client_min_messages": "warning",
}

Values = Mapping[str, object]
_Rows = list[asyncpg.Record]
_Key = tuple[object, ...]  # of a question: its text and values
_Run = Callable[["_Fold"], Coroutine[Any, Any, dict[_Key, _Rows]]]


def check_folds(found: int) -> None:
    """Raise QueryTooComplex if a request asks about too many learners and moments of the past."""
    if found > FOLDS:
        raise QueryTooComplex(
            f"asOf, knownAt: expected at most {FOLDS} learners and moments - found {found}"
        )


class Past:
    """Sessions that each hold the read models of one learner, at one moment at a time."""

    def __init__(self, where: Settings | str) -> None:
        said = schema.as_of_tables()
        self._database = Database(where, name="past", size=_SESSIONS, init_sql=said, **_SETTINGS)
        self._places: WeakValueDictionary[object, asyncio.Semaphore] = WeakValueDictionary()

    async def answered(
        self,
        question: NumberedStatement,
        values: Values,
        *,
        as_of: datetime | None,
        known_at: datetime | None,
    ) -> _Rows:
        """The rows of a question about one learner, at one or both of the moments.

        Unavailable if the database does not answer in time, or the learner has too many events.
        QueryTooComplex where the request has asked about too many learners and moments before.
        """
        scope = request_scope.current()
        moments = {"user_id": values["user_id"], "as_of": as_of, "known_at": known_at}
        key = (self, *moments.values())
        fold = scope.folds.get(key)
        if fold is None or fold.is_over:
            check_folds(len(scope.folds.keys() | {key}))
            fold = scope.folds[key] = _Fold(moments, scope, self._fold)
        return await fold.ask(question, values)

    async def _fold(self, fold: "_Fold") -> dict[_Key, _Rows]:
        user_id = fold.moments["user_id"]
        async with self._place(user_id, fold.scope):
            with tracing.child_span("projections/as_of fold_as_of", "client", _SQL):
                try:
                    return await self._database.run(fold.answer, fold.scope)
                except asyncpg.PostgresError as fault:
                    if fault.sqlstate == _TOO_LONG:
                        raise HistoryTooLong(str(fault)) from None
                    raise

    @contextlib.asynccontextmanager
    async def _place(self, user_id: object, scope: RequestScope) -> AsyncIterator[None]:
        """Hold a place for questions about a learner; InstanceUnavailable if none becomes free."""
        places = self._places.setdefault(user_id, asyncio.Semaphore(_OF_A_LEARNER))
        try:
            async with asyncio.timeout(scope.remaining()):
                await places.acquire()
        except TimeoutError:
            raise InstanceUnavailable(
                "too much is asked about this learner's past at once"
            ) from None
        try:
            yield
        finally:
            places.release()

    def close(self) -> None:
        """End the sessions in which nothing is asked."""
        self._database.close()


class _Fold:
    """A learner at one or both of the moments, and what a request asks about them.

    The parts of a request ask before the database has replied to any of them: by then all of their
    questions are here. One that comes too late has another fold.
    """

    def __init__(self, moments: Values, scope: RequestScope, fold: _Run) -> None:
        """Begin to fold, in a task that ends when nobody waits any more."""
        self.moments, self.scope = moments, scope
        self.is_over = False
        self._questions: dict[
            _Key, tuple[NumberedStatement, Values]
        ] = {}  # equal ones are asked once
        self._waiting = 0
        self._task = asyncio.create_task(fold(self))
        self._task.add_done_callback(self._end)

    async def ask(self, question: NumberedStatement, values: Values) -> _Rows:
        """The rows of the question."""
        key = (question.text, *question.arguments(values))
        self._questions[key] = question, values
        self._waiting += 1
        try:
            return (await asyncio.shield(self._task))[key]
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._task.cancel()

    async def answer(self, session: asyncpg.Connection) -> dict[_Key, _Rows]:
        """Fold and answer, in a transaction."""
        # What it starts from, what came after and what is set aside are of one moment.
        transaction = session.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            has_grown = await self._fold(session)
            rows = await self._answer(session)
        except asyncpg.PostgresError:
            await transaction.rollback()
            raise
        # Either way no row is left; a commit cuts the tables off, and so ends every plan.
        await (transaction.commit() if has_grown else transaction.rollback())
        return rows

    async def _fold(self, session: asyncpg.Connection) -> bool:
        milliseconds = str(int(self.scope.remaining() * 1_000) or 1)
        await self._fetch(session, _block("set_timeout"), {"milliseconds": milliseconds})
        found = await self._fetch(session, _block("fold_as_of"), self.moments)
        has_grown: bool = found[0][0]
        return has_grown

    async def _answer(self, session: asyncpg.Connection) -> dict[_Key, _Rows]:
        rows: dict[_Key, _Rows] = {}
        while missing := self._questions.keys() - rows.keys():
            for key in missing:
                rows[key] = await self._fetch(session, *self._questions[key])
        self.is_over = True
        return rows

    async def _fetch(
        self, session: asyncpg.Connection, block: NumberedStatement, values: Values
    ) -> _Rows:
        rows: _Rows = await session.fetch(
            block.text, *block.arguments(values), timeout=self.scope.remaining()
        )
        return rows

    def _end(self, task: asyncio.Task[dict[_Key, _Rows]]) -> None:
        self.is_over = True
        if not task.cancelled():
            task.exception()  # it is the affair of those who wait, if any do


def _block(name: str) -> NumberedStatement:
    return statements.load("projections/as_of", name)
