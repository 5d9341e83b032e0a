"""Queries about the past: the models' definitions over one learner's events up to a past time.

A definition computes a read model from scratch (`progress.projections.definitions`). All queries of
a request about the same learner and time share one statement, which computes each relation once and
only the relations that these queries read. If the time leaves out no event of the learner, the
learner's live rows take the place of the definitions.

A request may contain at most three different pairs of a learner and a past time. A process has
three sessions for these statements (DATABASE_PAST_SESSIONS).
"""

import asyncio
import functools
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import asyncpg

from progress.adapters import request_scope
from progress.adapters.postgres import statements
from progress.adapters.postgres.async_client import Database
from progress.adapters.postgres.statements import NumberedStatement
from progress.adapters.request_scope import RequestScope
from progress.adapters.telemetry import tracing
from progress.errors import HistoryTooLong, QueryTooComplex
from progress.projections import definitions, schema
from progress.settings import Settings

MAX_MOMENTS = 3  # per request

_MAX_EVENTS = 210_000  # of a learner, or of the members of a group, whose past may be queried
_FILE = "projections/as_of"
_SQL = {"db.system.name": "postgresql"}

# The planner cannot estimate the rows of a definition's relations. Each setting excludes plans that
# are slow for many rows.
_SETTINGS = {
    "search_path": f"{schema.schema_name()}, event_store",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "work_mem": "32MB",
    "random_page_cost": "1.1",  # as in Reader
}

Parameters = Mapping[str, object]
_Columns = dict[tuple[str, str], tuple[str, ...]]  # the names of the columns of each block
Row = Mapping[str, Any]
Moments = tuple[datetime | None, datetime | None]  # as_of, known_at


class Block(NamedTuple):
    """A block of `sql/{file}.sql` about one learner; `constants` are written into the text."""

    file: str
    name: str
    constants: tuple[tuple[str, str], ...] = ()


def check_moments(count: int) -> None:
    if count > MAX_MOMENTS:
        raise QueryTooComplex(
            f"asOf, knownAt: expected at most {MAX_MOMENTS} pairs of learner and time - "
            f"found {count}"
        )


class AsOfReader:
    def __init__(self, target: Settings | str, settings: Settings) -> None:
        self._database = Database(
            target,
            name="past",
            size=settings.database_past_sessions,
            idle_s=settings.database_pool_idle_seconds,
            **_SETTINGS,
        )
        # asyncpg learns the types of a block's columns when a session prepares the block, and only
        # for this session.
        self._columns: WeakKeyDictionary[asyncpg.Connection, _Columns] = WeakKeyDictionary()

    async def fetch(
        self,
        block: Block,
        parameters: Parameters,
        *,
        as_of: datetime | None,
        known_at: datetime | None,
    ) -> list[Row]:
        """Return the rows of a block about one learner (`user_id`) at these past times.

        Raise Unavailable if the database does not respond in time, or if the learner has too many
        events. Raise QueryTooComplex if the request asks about too many pairs of learner and time.
        """
        scope = request_scope.current()
        key = (self, parameters["user_id"], (as_of, known_at))
        check_moments(len(scope.computations.keys() | {key}))
        computation: _Computation | None = scope.computations.get(key)
        if computation is None or not computation.is_open:
            computation = _Computation(parameters["user_id"], (as_of, known_at), scope, self._run)
            scope.computations[key] = computation
        return await computation.fetch(block, parameters)

    async def fetch_group(
        self, block: Block, parameters: Parameters, *, as_of: datetime, memory: bool
    ) -> Sequence[Row]:
        """Return the rows of a block about the present members of a group (`group_id`).

        Without `memory`, the members' states of memory are not computed.
        """
        scope = request_scope.current()
        values = {"last_answers": False, **parameters}
        values |= {"as_of": as_of, "known_at": None}

        async def run(connection: asyncpg.Connection) -> Sequence[Row]:
            async def fetch(statement: NumberedStatement) -> Sequence[Row]:
                found: Sequence[Row] = await connection.fetch(
                    statement.text, *statement.arguments(values), timeout=scope.remaining()
                )
                return found

            rows = () if memory else await fetch(_of_group(block, memory=False, settled=True))
            if not rows:
                (size,) = await fetch(statements.load(_FILE, "of group events selected"))
                _check_length(size["events"], "members")
                rows = await fetch(_of_group(block, memory=memory, settled=False))
            return rows

        with tracing.child_span("projections/as_of group", "client", _SQL):
            return await self._database.run(run)

    async def _run(self, computation: "_Computation") -> "_Results":
        async def run(connection: asyncpg.Connection) -> _Results:
            return await computation.run(connection, self._columns.setdefault(connection, {}))

        with tracing.child_span("projections/as_of", "client", _SQL):
            return await self._database.run(run)

    async def close(self) -> None:
        await self._database.close()


_Query = tuple[Block, tuple[object, ...]]  # with the values of the parameters, in order
_Results = dict[_Query, list[Row]]


class _Computation:
    """One statement for all queries of a request about one learner at one past time.

    All root fields of a request register their queries before the first reply of the database. A
    query that is registered later needs another statement.
    """

    def __init__(
        self,
        user_id: object,
        moments: Moments,
        scope: RequestScope,
        run: Callable[["_Computation"], Coroutine[Any, Any, _Results]],
    ) -> None:
        """Start the statement in a task, which is cancelled when no query waits for it any more."""
        self.user_id, self.scope = user_id, scope
        self.is_open = True
        self._moments = dict(zip(("as_of", "known_at"), moments, strict=True))
        self._queries: dict[_Query, Parameters] = {}
        self._waiters = 0
        self._task = asyncio.create_task(run(self))
        self._task.add_done_callback(self._close)

    async def fetch(self, block: Block, parameters: Parameters) -> list[Row]:
        """Wait for the statement; return the rows of the block."""
        query = block, tuple(_load(block).arguments(parameters))  # equal queries run once
        self._queries[query] = parameters
        self._waiters += 1
        try:
            return (await asyncio.shield(self._task))[query]
        finally:
            self._waiters -= 1
            if not self._waiters:
                self._task.cancel()

    async def run(self, session: asyncpg.Connection, columns: _Columns) -> _Results:
        """Run the statement; prepare the blocks that are not in the session's `columns`."""
        selected = await self._fetch_one(session, statements.load(_FILE, "selected"))
        self.is_open = False  # every query has been registered
        for block, _ in self._queries:
            await self._learn_columns(session, block, columns)
        answers = await self._answer(session, live=True) if selected["is_live"] else None
        if not answers or not answers["is_live"]:
            _check_length(selected["events"], "learner")
            answers = await self._answer(session, live=False)
        return {
            (block, values): [
                dict(zip(columns[block.file, block.name], found, strict=True))
                for found in answers[f"answer_{number}"] or ()
            ]
            for number, (block, values) in enumerate(self._queries)
        }

    async def _learn_columns(
        self, session: asyncpg.Connection, block: Block, columns: _Columns
    ) -> None:
        """Add the names of the block's columns, unless the session has told them before."""
        if (block.file, block.name) not in columns:
            prepared = await session.prepare(_load(block).text, timeout=self.scope.remaining())
            names = tuple(column.name for column in prepared.get_attributes())
            columns[block.file, block.name] = names

    async def _answer(self, session: asyncpg.Connection, *, live: bool) -> asyncpg.Record:
        """Return one row with the rows of each query; see `_join`."""
        values = {
            f"{name}_{number}": value
            for number, parameters in enumerate(self._queries.values())
            for name, value in parameters.items()
        }
        blocks = tuple(block for block, _ in self._queries)
        return await self._fetch_one(session, _join(blocks, live=live), values)

    async def _fetch_one(
        self,
        session: asyncpg.Connection,
        statement: NumberedStatement,
        values: Parameters = MappingProxyType({}),
    ) -> asyncpg.Record:
        parameters = {"user_id": self.user_id, **self._moments, **values}
        (row,) = await session.fetch(
            statement.text, *statement.arguments(parameters), timeout=self.scope.remaining()
        )
        return row

    def _close(self, task: asyncio.Task[_Results]) -> None:
        self.is_open = False
        if not task.cancelled():
            task.exception()  # mark the error as retrieved; fetch() raises it in waiting queries


def _check_length(events: int, whose: str) -> None:
    if events > _MAX_EVENTS:
        raise HistoryTooLong(
            f"asOf, knownAt: expected at most {_MAX_EVENTS} events of the {whose} - "
            f"found {events}: leave both out"
        )


def _load(block: Block) -> NumberedStatement:
    return statements.load(block.file, block.name, **dict(block.constants))


@functools.cache
def _of_group(block: Block, *, memory: bool, settled: bool) -> NumberedStatement:
    query = statements.blocks(block.file)[block.name].rstrip(";")
    relations = definitions.as_of_group_relations(query, memory=memory, settled=settled)
    text = statements.fill(
        _FILE,
        "of group statement",
        **_fill_relations(relations, live=("given_answers", "items") if settled else ("items",)),
        query=query,
        condition=statements.blocks(_FILE)["of group is settled"] if settled else "",
    )
    return statements.number(text, _FILE)


@functools.lru_cache(maxsize=200)
def _join(blocks: tuple[Block, ...], *, live: bool = False) -> NumberedStatement:
    """Return the statement that answers all blocks.

    The parameters of a block end with its number, except `user_id`. With `live`, the learner's live
    rows take the place of the definitions, and the column `is_live` tells whether they may.
    """
    each = statements.blocks(_FILE)["each"].rpartition("\n")[2]
    texts = [
        statements.blocks(block.file)[block.name].rstrip(";").replace("/* each */", each)
        for block in blocks
    ]
    relations = definitions.as_of_relations("\n".join(texts), live=live)
    answers = [
        statements.fill(
            _FILE,
            "answer",
            name=f"answer_{number}",
            query=statements.with_suffix(
                text, f"_{number}", dict(block.constants), shared="user_id"
            ),
        )
        for number, (block, text) in enumerate(zip(blocks, texts, strict=True))
    ]
    if live:
        answers.append(statements.blocks(_FILE)["is_live answer"])
    text = statements.fill(
        _FILE,
        "statement",
        **_fill_relations(
            relations, live=("items", *(definitions.REALTIME if live else definitions.OWN))
        ),
        answers=",\n".join(answers),
    )
    return statements.number(text, _FILE)


def _fill_relations(relations: Mapping[str, str], *, live: Collection[str]) -> dict[str, str]:
    """Return a statement's parts with these relations; those that are `live` select live rows."""
    texts = [
        statements.fill(
            _FILE, "live relation" if name in live else "relation", name=name, query=query
        )
        for name, query in relations.items()
    ]
    seen = statements.blocks(_FILE)["seen items"] if "items" in relations else ""
    return {"relations": ",\n".join(texts), "seen": seen}
