"""Questions to the read models and the log, over asyncpg: each is one block and one round trip."""

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import statements
from progress.adapters.postgres.async_client import Database
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.telemetry import tracing
from progress.projections import schema
from progress.query.read_models.as_of import Past
from progress.settings import Settings, current

Values = Mapping[str, object]

_CONNECTIONS = 10
_SQL = {"db.system.name": "postgresql"}


class Reader:
    """Connections that see the live read models; the first is made for the first question."""

    def __init__(self, where: Settings | str) -> None:
        self._database = Database(
            where,
            name="query",
            size=_CONNECTIONS,
            search_path=f"{schema.schema_name()}, event_store",
        )
        self.past = Past(where)
        self._types: dict[tuple[str, str], dict[str, str]] = {}

    async def answered(self, statement: NumberedStatement, values: Values) -> list[asyncpg.Record]:
        """The rows of a statement; Unavailable if the database does not answer."""
        given, scope = statement.arguments(values), request_scope.current()

        async def ask(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(
                statement.text, *given, timeout=scope.remaining()
            )
            return rows

        if not tracing.is_exporting():
            return await self._database.run(ask, scope)
        with tracing.child_span(statement.name, "client", _SQL):
            return await self._database.run(ask, scope)

    async def types(self, file: str, name: str) -> dict[str, str]:
        """The columns of a block of `sql/{file}.sql`, with PostgreSQL's types; asked once each."""
        found = self._types.get((file, name))
        if found is None:
            text, scope = statements.load(file, name).text, request_scope.current()

            async def ask(connection: asyncpg.Connection) -> dict[str, str]:
                prepared = await connection.prepare(text, timeout=scope.remaining())
                return {each.name: each.type.name for each in prepared.get_attributes()}

            found = self._types[file, name] = await self._database.run(ask, scope)
        return found

    async def close(self) -> None:
        """End the connections at once."""
        self._database.close()
        self.past.close()


_chosen: ContextVar[Reader | None] = ContextVar("_chosen", default=None)


@functools.cache
def _of_this_process() -> Reader:
    return Reader(current())


@contextlib.contextmanager
def using(reader: Reader) -> Iterator[None]:
    """What is asked inside the block is asked of that reader."""
    before = _chosen.set(reader)
    try:
        yield
    finally:
        _chosen.reset(before)


@contextlib.asynccontextmanager
async def opened(where: Settings | str) -> AsyncIterator[Reader]:
    """A reader of the database at `where`, for what is asked inside the block."""
    reader = Reader(where)
    try:
        with using(reader):
            yield reader
    finally:
        await reader.close()


async def rows(file: str, name: str, **values: object) -> list[asyncpg.Record]:
    """The rows of a block of `sql/{file}.sql`, of the block's reader or this process's.

    Unavailable if the database does not answer.
    """
    return await _reader().answered(statements.load(file, name), values)


async def narrowed(
    file: str, name: str, columns: str, values: Values, *, versioned: bool
) -> list[asyncpg.Record]:
    """The same, with these columns only; if `versioned`, with the learner's version after them."""
    statement = statements.load_columns(file, name, columns, versioned=versioned)
    return await _reader().answered(statement, values)


async def rows_as_of(
    file: str, name: str, *, as_of: datetime | None, known_at: datetime | None, **values: object
) -> list[asyncpg.Record]:
    """As `rows`, about what a learner (`user_id`) had done, or was known to have done, by then."""
    statement = statements.load(file, name)
    return await _reader().past.answered(statement, values, as_of=as_of, known_at=known_at)


async def types(file: str, name: str) -> dict[str, str]:
    """As `Reader.types`, of the same reader."""
    return await _reader().types(file, name)


def _reader() -> Reader:
    return _chosen.get() or _of_this_process()
