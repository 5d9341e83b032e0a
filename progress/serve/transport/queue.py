"""The transport's queue on disk: topics, subscriptions and the messages to deliver."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import asyncpg
import msgspec

from progress.adapters.postgres import async_client
from progress.adapters.postgres.statements import load
from progress.errors import DatabaseUnavailable

T = TypeVar("T")

_STATEMENT_TIMEOUT_S = 15.0
_PAUSE_S = 0.1
_COLUMNS = (
    *("subscription", "message_id", "message", "attributes", "ordering_key", "published_at"),
    "attempts",
)


class Subscription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A push subscription. Each push has a token if it names an account."""

    name: str
    topic: str
    endpoint: str
    account: str = ""
    audience: str = ""
    deadline_s: float = 60.0
    min_backoff_s: float = 0.1
    max_backoff_s: float = 10.0
    max_attempts: int = 100
    dead_letter_topic: str = ""  # without one, a message that is given up stays in the queue


@dataclass(eq=False)
class Message:
    """A message that one subscription has yet to deliver."""

    subscription: str
    message_id: str
    data: bytes
    attributes: dict[str, str]
    ordering_key: str
    published_at: datetime
    attempts: int = 0
    refusals: int = 0
    is_wanted_again: bool = False  # the same command was published during its push

    @property
    def key(self) -> tuple[str, str]:
        return self.subscription, self.message_id

    @property
    def command(self) -> tuple[str, bytes]:
        """Equal for two commands that ask the same."""
        return self.subscription, self.data


class BatchWriter(Generic[T]):
    """A writer that collects items during a write, and writes them together in the next write."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]]) -> None:
        self._write = write
        self._items: list[T] = []
        self._written: asyncio.Future[None] | None = None
        self._has_items = asyncio.Event()

    def add(self, items: Iterable[T]) -> asyncio.Future[None]:
        """Add items to the next write, and return the future of this write.

        Several callers share the future. A caller that may be cancelled must shield it.
        """
        self._items += items
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            self._has_items.set()
        return self._written

    async def run(self) -> None:
        while True:
            await self._has_items.wait()
            self._has_items.clear()
            items, self._items = self._items, []
            written, self._written = self._written, None
            if items:
                await self._write(items)
            if written:
                written.set_result(None)


class Queue:
    """Topics, subscriptions and messages, in PostgreSQL. The database's errors are not handled."""

    def __init__(self, writer: asyncpg.Connection, updater: asyncpg.Connection) -> None:
        self._writer, self._updater = writer, updater  # the first only writes published messages
        self._updating = asyncio.Lock()
        self._added = BatchWriter[Message](self._copy)
        self._removed = BatchWriter[tuple[str, str]](self._remove)
        self._counted = BatchWriter[tuple[str, str, int, bool]](self._count)
        self.lost = asyncio.Event()
        self.changed = asyncio.Event()  # another process has changed the table

    @classmethod
    async def open(cls, url: str) -> "Queue":
        """Open the queue as soon as the database accepts connections."""
        writer, updater = await _connect(url), await _connect(url)
        queue = cls(writer, updater)
        for connection in (writer, updater):
            connection.add_termination_listener(lambda _: queue.lost.set())
        # If a crash of the machine loses a deletion, the message is delivered once more.
        await updater.execute("SET synchronous_commit = off")
        await writer.add_listener("transport", lambda *_: queue.changed.set())
        return queue

    async def keep(self) -> None:
        """Write what the other methods add; raise DatabaseUnavailable once a session is lost."""
        async with asyncio.TaskGroup() as group:
            for each in (self._added, self._removed, self._counted):
                group.create_task(each.run())
            await self.lost.wait()
            raise DatabaseUnavailable("the session of the transport is lost")

    async def topics(self) -> list[str]:
        return [row["name"] for row in await self._fetch("topics")]

    async def subscriptions(self) -> list[Subscription]:
        rows = await self._fetch("subscriptions")
        return [msgspec.json.decode(row["definition"], type=Subscription) for row in rows]

    async def waiting(self) -> list[Message]:
        await self._removed.add([])
        await self._counted.add([])
        return [
            Message(
                row["subscription"],
                row["message_id"],
                row["message"],
                msgspec.json.decode(row["attributes"]),
                row["ordering_key"],
                row["published_at"],
                row["attempts"],
            )
            for row in await self._fetch("waiting")
        ]

    async def add(self, messages: list[Message]) -> None:
        """Return once these messages are on disk; concurrent callers share a transaction."""
        await asyncio.shield(self._added.add(messages))

    def remove(self, message: Message) -> None:
        """Let the next write remove the message."""
        self._removed.add([message.key])

    async def count(self, message: Message, *, is_dead: bool = False) -> None:
        """Return once the number of attempts is written."""
        await asyncio.shield(self._counted.add([(*message.key, message.attempts, is_dead)]))

    async def add_topic(self, name: str) -> None:
        await self._update("add topic", name)

    async def save(self, subscription: Subscription) -> None:
        definition = msgspec.json.encode(subscription).decode()
        await self._update("save subscription", subscription.name, definition)

    async def remove_subscription(self, name: str) -> None:
        await self._update("remove subscription", name)

    async def _copy(self, messages: list[Message]) -> None:
        encode = msgspec.json.encode
        await self._writer.copy_records_to_table(
            "queue",
            schema_name="transport",
            columns=_COLUMNS,
            records=[
                (*m.key, m.data, encode(m.attributes).decode(), m.ordering_key, m.published_at, 0)
                for m in messages
            ],
            timeout=_STATEMENT_TIMEOUT_S,
        )

    async def _remove(self, keys: list[tuple[str, str]]) -> None:
        await self._update("remove", *zip(*keys, strict=True))

    async def _count(self, tries: list[tuple[str, str, int, bool]]) -> None:
        await self._update("count attempts", *zip(*tries, strict=True))

    async def _fetch(self, block: str) -> list[Any]:
        async with self._updating:
            rows: list[Any] = await self._updater.fetch(_sql(block), timeout=_STATEMENT_TIMEOUT_S)
        return rows

    async def _update(self, block: str, *values: object) -> None:
        async with self._updating:
            await self._updater.execute(_sql(block), *values, timeout=_STATEMENT_TIMEOUT_S)


def _sql(block: str) -> str:
    return load("transport/queue", block).text


async def _connect(url: str) -> asyncpg.Connection:
    while True:
        try:
            return await async_client.connect(url, name="transport")
        except DatabaseUnavailable:
            await asyncio.sleep(_PAUSE_S)
