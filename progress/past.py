"""Questions about the past: the learner's events folded anew, in tables of the session's own.

They cost what the fold costs, so only a few are answered at once: the others wait. Those about one
learner never take all the places, so that nobody asks the others out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from weakref import WeakValueDictionary

import asyncpg

from progress import models, sessions, statements, telemetry
from progress.errors import Unavailable
from progress.sessions import Sessions
from progress.settings import Settings
from progress.statements import Numbered

_SESSIONS = 3
_OF_A_LEARNER = 2
_SQL = {"db.system.name": "postgresql"}

_SETTINGS = {
    "search_path": f"pg_temp, {models.schema_name()}, event_store",
    "temp_buffers": "32MB",  # 25,000 events without a file
    "statement_timeout": f"{sessions.SECONDS}s",
    "client_min_messages": "warning",
}


class Past:
    """Sessions that each hold the read models of one learner, at one moment at a time."""

    def __init__(self, where: Settings | str) -> None:
        said = models.as_of_tables()
        self._sessions = Sessions(where, name="past", size=_SESSIONS, said=said, **_SETTINGS)
        self._places: WeakValueDictionary[object, asyncio.Semaphore] = WeakValueDictionary()

    async def answered(
        self,
        question: Numbered,
        values: Mapping[str, object],
        *,
        as_of: datetime | None,
        known_at: datetime | None,
    ) -> list[asyncpg.Record]:
        """The rows of a question about one learner, at one or both of the moments.

        Unavailable if the database does not answer in time.
        """
        moments = {"user_id": values["user_id"], "as_of": as_of, "known_at": known_at}
        async with self._place(values["user_id"]):
            with telemetry.span(f"{question.name} as of", "client", _SQL):
                return await self._sessions.ask(
                    lambda session: _folded_and_asked(session, moments, question, values)
                )

    @contextlib.asynccontextmanager
    async def _place(self, user_id: object) -> AsyncIterator[None]:
        """One of the places for questions about a learner; Unavailable if none becomes free."""
        places = self._places.setdefault(user_id, asyncio.Semaphore(_OF_A_LEARNER))
        try:
            async with asyncio.timeout(sessions.SECONDS):
                await places.acquire()
        except TimeoutError:
            raise Unavailable("too much is asked about this learner's past at once") from None
        try:
            yield
        finally:
            places.release()

    def close(self) -> None:
        """End the sessions in which nothing is asked."""
        self._sessions.close()


async def _folded_and_asked(
    session: asyncpg.Connection,
    moments: Mapping[str, object],
    question: Numbered,
    values: Mapping[str, object],
) -> list[asyncpg.Record]:
    fold = statements.numbered("models/as_of", "one")
    # What it starts from, what came after and what is set aside are of one moment.
    transaction = session.transaction(isolation="repeatable_read")
    await transaction.start()
    try:
        has_grown = await session.fetchval(fold.text, *fold.given(moments))
        rows: list[asyncpg.Record] = await session.fetch(question.text, *question.given(values))
    except asyncpg.PostgresError:
        await transaction.rollback()
        raise
    # Either way no row is left; a commit cuts the tables off, and so ends every plan.
    await (transaction.commit() if has_grown else transaction.rollback())
    return rows
