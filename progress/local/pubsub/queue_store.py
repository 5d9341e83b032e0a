"""The stand-in's queue on disk: topics, subscriptions and undelivered messages."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncpg
from google.pubsub_v1.types import PubsubMessage, Subscription

from progress.adapters.postgres import sessions
from progress.adapters.postgres import url as postgres_url
from progress.adapters.postgres.statements import load
from progress.errors import DatabaseUnavailable
from progress.local.pubsub.background import Background

T = TypeVar("T")
Row = tuple[str, int, bytes]  # subscription, message id, message

# The raw protocol buffer types: the library's wrappers of these types are ten times slower.
Definition: Any = Subscription.pb()
Message: Any = PubsubMessage.pb()

_CONNECT_TIMEOUT_S = 10.0
_STATEMENT_TIMEOUT_S = 15.0
_START_TIMEOUT_S = 30.0  # PostgreSQL may be starting at the same time


class BatchWriter(Generic[T]):
    """A writer that collects items during a write, and writes them together in the next write."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]], background: Background) -> None:
        self._write = write
        self._background = background
        self._items: list[T] = []
        self._written: asyncio.Future[None] | None = None
        self._drain: asyncio.Task[None] | None = None

    def add(self, items: list[T]) -> asyncio.Future[None]:
        """Add items to the next write, and return the future of this write.

        Several callers share the future. A caller that may be cancelled must shield it.
        """
        self._items += items
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        if self._drain is None:
            self._drain = self._background.start(self._write_all())
        return self._written

    async def _write_all(self) -> None:
        while written := self._written:
            items, self._items, self._written = self._items, [], None
            await self._write(items)
            written.set_result(None)
        self._drain = None


class QueueStore:
    """Topics, subscriptions and their waiting messages, in PostgreSQL."""

    def __init__(self, writer: Any, updater: Any, run: int, background: Background) -> None:
        self._writer = writer  # writes published messages only
        self._updater = updater
        self._background = background
        self._updating = asyncio.Lock()
        self._last_id = run << 32
        self._published = BatchWriter[Row](self._copy, background)
        self._acknowledged = BatchWriter[tuple[str, int]](self._acknowledge, background)
        self._retained = BatchWriter[tuple[str, int]](self._retain, background)
        self._attempts = BatchWriter[tuple[str, int, int]](self._count, background)

    @classmethod
    async def open(cls, url: str, background: Background) -> "QueueStore":
        """Open the queue in this database, create missing tables, and report lost connections."""
        lost = DatabaseUnavailable("the connection to the database is lost")
        writer, updater = await _connect_when_ready(url), await _connect_when_ready(url)
        await writer.execute(_sql("schema"))
        # If a crash of the machine loses an acknowledgement, the message is delivered once more.
        await updater.execute("SET synchronous_commit = off")
        for connection in (writer, updater):
            connection.add_termination_listener(lambda _connection: background.on_error(lost))
        return cls(writer, updater, await writer.fetchval(_sql("run")), background)

    async def topics(self) -> list[str]:
        return [row["name"] for row in await self._updater.fetch(_sql("topics"))]

    async def subscriptions(self) -> list[Any]:
        rows = await self._updater.fetch(_sql("subscriptions"))
        return [Definition.FromString(row["definition"]) for row in rows]

    async def waiting(self) -> list[tuple[str, Any, int]]:
        """Return each unacknowledged message with its subscription and attempts, in id order."""
        return [
            (row["subscription"], Message.FromString(row["message"]), row["attempts"])
            for row in await self._updater.fetch(_sql("queue"))
        ]

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def add(self, rows: list[Row]) -> None:
        """Return once these messages are on disk; concurrent callers share a transaction."""
        await asyncio.shield(self._published.add(rows))

    def acknowledge(self, subscription: str, message_id: int, *, is_retained: bool) -> None:
        """Let the next write remove the message, or mark it as acknowledged."""
        writer = self._retained if is_retained else self._acknowledged
        writer.add([(subscription, message_id)])

    async def seek(self, subscription: str, time: datetime) -> list[Any]:
        """Return the messages since `time` in id order, and mark all others as acknowledged."""
        await self._retained.add([])
        await self._update("seek", time, subscription)
        async with self._updating:
            rows = await self._updater.fetch(_sql("queue of"), subscription)
        return [Message.FromString(row["message"]) for row in rows]

    def count(self, subscription: str, message_id: int, attempts: int) -> asyncio.Future[None]:
        """Let the next write store the number of attempts; return a future for this write."""
        return self._attempts.add([(subscription, message_id, attempts)])

    async def close(self) -> None:
        """Return once all pending writes are done."""
        await self._acknowledged.add([])
        await self._retained.add([])
        await self._attempts.add([])

    async def add_topic(self, name: str) -> None:
        await self._update("add topic", name)

    async def remove_topic(self, name: str) -> None:
        await self._update("remove topic", name)

    async def save(self, definition: Any) -> None:
        """Store a new or changed subscription."""
        await self._update("save subscription", definition.name, definition.SerializeToString())

    async def remove(self, subscription: str) -> None:
        """Remove a subscription and its waiting messages."""
        await self._update("remove subscription", subscription)

    async def _copy(self, rows: list[Row]) -> None:
        await self._writer.copy_records_to_table(
            "queue",
            schema_name="pubsub_standin",
            columns=["subscription", "message_id", "message"],
            records=rows,
        )

    async def _acknowledge(self, pairs: list[tuple[str, int]]) -> None:
        if pairs:
            await self._update("acknowledge", *zip(*pairs, strict=True))

    async def _retain(self, pairs: list[tuple[str, int]]) -> None:
        if pairs:
            await self._update("retain", *zip(*pairs, strict=True))

    async def _count(self, tries: list[tuple[str, int, int]]) -> None:
        if tries:
            await self._update("count attempts", *zip(*tries, strict=True))

    async def _update(self, block: str, *values: object) -> None:
        async with self._updating:
            # After a timeout, memory and disk may differ: the change may be on disk or not.
            with self._background.fatal(TimeoutError):
                await self._updater.execute(_sql(block), *values)


def _sql(block: str) -> str:
    return load("local/pubsub", block).text


async def _connect_when_ready(url: str) -> Any:
    """Connect as soon as the server accepts connections."""
    async with asyncio.timeout(_START_TIMEOUT_S):
        while True:
            try:
                return await _connect(postgres_url.parse_url(url))
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)


async def _connect(address: postgres_url.Address) -> Any:
    connection = await asyncpg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        ssl=False if address.host.startswith("/") else address.sslmode,
        timeout=_CONNECT_TIMEOUT_S,
        command_timeout=_STATEMENT_TIMEOUT_S,
        server_settings={"application_name": "pubsub-standin"},
    )
    await connection.execute(sessions.configure(connection.get_server_pid(), {}))
    return connection
