"""The query API's access to PostgreSQL: each call runs one block of SQL in one round trip."""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import statements
from progress.adapters.postgres.async_client import Database
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.telemetry import tracing
from progress.errors import Unavailable
from progress.projections import schema
from progress.query.read_models.as_of import AsOfReader, Block
from progress.query.read_models.rows import Moment, Page, build_page
from progress.settings import Settings, current

Parameters = Mapping[str, object]

_NOTE_S = 60.0
_SQL = {"db.system.name": "postgresql"}
_T = TypeVar("_T")


class Reader:
    """A reader that runs SQL blocks on the live read models and connects on the first call.

    All methods raise Unavailable if the database does not respond by the request's deadline.
    """

    def __init__(self, target: Settings | str) -> None:
        settings = target if isinstance(target, Settings) else current()
        # Pages cost the same in any order: rows of one learner are read by key, also where another
        # learner has most rows of a table.
        self._open = functools.partial(
            Database,
            target,
            name="query",
            search_path=f"{schema.schema_name()}, event_store",
            random_page_cost="1.1",
        )
        self._database = self._open(
            size=settings.database_pool_size, idle_s=settings.database_pool_idle_seconds
        )
        self._as_of = AsOfReader(target, settings)
        self._column_types: dict[tuple[str, str], dict[str, str]] = {}
        self._note_due_at: float | None = None
        self._note: asyncio.Task[object] | None = None

    def note_reads(self) -> None:
        """Note once a minute that the read models are read, as long as somebody does (live.py)."""
        self._note_due_at = time.monotonic()

    async def fetch(
        self,
        file: str,
        block: str,
        constants: Mapping[str, str] | None = None,
        /,
        **parameters: object,
    ) -> list[asyncpg.Record]:
        """Return the rows of a block of `sql/{file}.sql`.

        `constants` are parameters whose values are written into the statement. The server plans and
        caches a statement for each combination of values, so there should be few combinations.
        """
        return await self._run(statements.load(file, block, **(constants or {})), parameters)

    async def fetch_apart(self, file: str, block: str) -> list[asyncpg.Record]:
        """Return the rows of a block, on a new session, because waiting queries may use all."""
        text, scope = statements.load(file, block).text, request_scope.current()

        async def fetch(connection: asyncpg.Connection) -> list[asyncpg.Record]:
            rows: list[asyncpg.Record] = await connection.fetch(text, timeout=scope.remaining())
            return rows

        database = self._open(size=1)
        try:
            return await database.run(fetch, scope)
        finally:
            await database.close()

    async def fetch_page(
        self,
        file: str,
        block: str,
        convert: Callable[[Mapping[str, Any]], _T],
        /,
        *,
        id_column: str = "item_id",
        first: int,
        moment: Moment | None = None,
        **parameters: object,
    ) -> Page[_T]:
        """Run a block; return a page of at most `first` rows, each converted by `convert`."""
        rows = await self.fetch_at(moment, file, block, first=first + 1, **parameters)
        return build_page(rows, first, convert, id_column)

    async def fetch_columns(
        self, file: str, block: str, columns: str, parameters: Parameters
    ) -> list[asyncpg.Record]:
        """Return these columns of a block's rows."""
        return await self._run(statements.load_columns(file, block, columns), parameters)

    async def fetch_at(
        self,
        moment: Moment | None,
        file: str,
        block: str,
        constants: Mapping[str, str] | None = None,
        /,
        **parameters: object,
    ) -> Sequence[Mapping[str, Any]]:
        """Return the rows of a block at a moment; see `fetch`.

        The block is about one learner (`user_id`), or about a group's present members (`group_id`),
        who have no `known_at`. At a past moment, use only events that had happened by `as_of` and
        had been recorded by `known_at`. None means the present. `now` is the moment's.
        """
        if moment is not None:
            parameters["now"] = moment.now
        if moment is None or not moment.is_past:
            return await self.fetch(file, block, constants, **parameters)
        if moment.as_of and "group_id" in parameters:
            memory = bool(parameters.get("estimates", True))
            of_group = Block(file, block)
            return await self._as_of.fetch_group(
                of_group, parameters, as_of=moment.as_of, memory=memory
            )
        return await self._as_of.fetch(
            Block(file, block, tuple((constants or {}).items())),
            parameters,
            as_of=moment.as_of,
            known_at=moment.known_at,
        )

    async def column_types(self, file: str, block: str) -> dict[str, str]:
        """Return the PostgreSQL type of each column of a block; the types are cached."""
        types = self._column_types.get((file, block))
        if types is None:
            text, scope = statements.load(file, block).text, request_scope.current()

            async def describe(connection: asyncpg.Connection) -> dict[str, str]:
                prepared = await connection.prepare(text, timeout=scope.remaining())
                return {column.name: column.type.name for column in prepared.get_attributes()}

            types = self._column_types[file, block] = await self._database.run(describe, scope)
        return types

    async def close(self) -> None:
        if self._note:
            self._note.cancel()
            await asyncio.gather(self._note, return_exceptions=True)
        await self._database.close()
        await self._as_of.close()

    async def _run(
        self, statement: NumberedStatement, parameters: Parameters
    ) -> list[asyncpg.Record]:
        arguments, scope = statement.arguments(parameters), request_scope.current()
        with tracing.child_span(statement.name, "client", _SQL):
            found: list[asyncpg.Record] = await self._database.run(
                lambda session: session.fetch(
                    statement.text, *arguments, timeout=scope.remaining()
                ),
                scope,
            )
        if self._note_due_at is not None and time.monotonic() >= self._note_due_at:
            self._note_due_at = time.monotonic() + _NOTE_S
            noted = self._note_read()
            self._note = asyncio.create_task(noted, context=request_scope.detached_context())
        return found

    async def _note_read(self) -> None:
        with contextlib.suppress(Unavailable):  # the next minute's call says it, too
            await self.fetch("query/reads", "note read", schema=schema.schema_name())


@contextlib.asynccontextmanager
async def open_reader(target: Settings | str) -> AsyncIterator[Reader]:
    reader = Reader(target)
    try:
        yield reader
    finally:
        await reader.close()
