"""What the stand-in has promised to deliver, on disk."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import asyncpg
from google.pubsub_v1.types import PubsubMessage, Subscription

from progress.adapters.postgres import url as postgres_url
from progress.adapters.postgres.statements import load
from progress.errors import Unavailable
from progress.local.pubsub.background import Background

T = TypeVar("T")
Row = tuple[str, int, bytes]  # subscription, message id, message

# The types of protocol buffers themselves: a tenth of the cost of their wrappers.
Definition: Any = Subscription.pb()
Message: Any = PubsubMessage.pb()

_GREETING = 10.0  # seconds until a server that does not greet counts as away
_PATIENCE = 15.0  # seconds until a statement that is not answered counts as lost
_START = 30.0  # seconds for a server that is starting, as we are


class Batched(Generic[T]):
    """Collects what comes while a write is under way, and writes that in one go."""

    def __init__(self, write: Callable[[list[T]], Awaitable[None]], background: Background) -> None:
        self._write = write
        self._background = background
        self._items: list[T] = []
        self._written: asyncio.Future[None] | None = None
        self._drain: asyncio.Task[None] | None = None

    def put(self, items: list[T]) -> asyncio.Future[None]:
        """The future is done when these are written. Others wait for it too: shield it."""
        self._items += items
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        if self._drain is None:
            self._drain = self._background.start(self._drained())
        return self._written

    async def _drained(self) -> None:
        while written := self._written:
            items, self._items, self._written = self._items, [], None
            await self._write(items)
            written.set_result(None)
        self._drain = None


class Ledger:
    """Topics, subscriptions and the messages that wait in them."""

    def __init__(self, writer: Any, sweeper: Any, run: int, background: Background) -> None:
        self._writer = writer  # publishes, and nothing else
        self._sweeper = sweeper
        self._background = background
        self._sweeping = asyncio.Lock()
        self._last_id = run << 32
        self._rows = Batched[Row](self._copy, background)
        self._done = Batched[tuple[str, int]](self._acknowledge, background)
        self._tried = Batched[tuple[str, int, int]](self._count, background)

    @classmethod
    async def open(cls, url: str, background: Background) -> "Ledger":
        """The ledger in this database, made where it is missing; a fault when it goes away."""
        lost = Unavailable("the database went away")
        writer, sweeper = await _connected(url), await _connected(url)
        await writer.execute(_text("schema"))
        # An acknowledgement that is lost with the machine is a message that comes twice.
        await sweeper.execute("SET synchronous_commit = off")
        for connection in (writer, sweeper):
            connection.add_termination_listener(lambda _connection: background.on_fault(lost))
        return cls(writer, sweeper, await writer.fetchval(_text("run")), background)

    async def topics(self) -> list[str]:
        return [row["name"] for row in await self._sweeper.fetch(_text("topics"))]

    async def subscriptions(self) -> list[Any]:
        rows = await self._sweeper.fetch(_text("subscriptions"))
        return [Definition.FromString(row["definition"]) for row in rows]

    async def waiting(self) -> list[tuple[str, Any, int]]:
        """Subscription, message and attempts so far of all that is not acknowledged, in order."""
        return [
            (row["subscription"], Message.FromString(row["message"]), row["attempts"])
            for row in await self._sweeper.fetch(_text("queue"))
        ]

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    async def add(self, rows: list[Row]) -> None:
        """Return once these are on disk; those who add at the same time share a transaction."""
        await asyncio.shield(self._rows.put(rows))

    def acknowledge(self, subscription: str, message_id: int) -> None:
        """Forget the message, soon."""
        self._done.put([(subscription, message_id)])

    def count(self, subscription: str, message_id: int, attempts: int) -> None:
        """Note the attempts so far, soon."""
        self._tried.put([(subscription, message_id, attempts)])

    async def close(self) -> None:
        """Return once all that was to happen soon has happened."""
        await self._done.put([])
        await self._tried.put([])

    async def add_topic(self, name: str) -> None:
        await self._sweep("add topic", name)

    async def remove_topic(self, name: str) -> None:
        await self._sweep("remove topic", name)

    async def keep(self, definition: Any) -> None:
        """Write a subscription, new or changed."""
        await self._sweep("keep subscription", definition.name, definition.SerializeToString())

    async def remove(self, subscription: str) -> None:
        """Forget a subscription and what waits in it."""
        await self._sweep("remove subscription", subscription)

    async def _copy(self, rows: list[Row]) -> None:
        await self._writer.copy_records_to_table(
            "queue",
            schema_name="pubsub_standin",
            columns=["subscription", "message_id", "message"],
            records=rows,
        )

    async def _acknowledge(self, pairs: list[tuple[str, int]]) -> None:
        if pairs:
            await self._sweep("acknowledge", *zip(*pairs, strict=True))

    async def _count(self, tries: list[tuple[str, int, int]]) -> None:
        if tries:
            await self._sweep("count attempts", *zip(*tries, strict=True))

    async def _sweep(self, block: str, *values: object) -> None:
        async with self._sweeping:
            # Of one that is not answered nobody knows whether it is on disk.
            with self._background.fatal(TimeoutError):
                await self._sweeper.execute(_text(block), *values)


def _text(block: str) -> str:
    return load("local/pubsub", block).text


async def _connected(url: str) -> Any:
    """A connection, once the server takes it."""
    async with asyncio.timeout(_START):
        while True:
            try:
                return await _connect(postgres_url.parse_url(url))
            except (OSError, asyncpg.CannotConnectNowError):
                await asyncio.sleep(0.05)


async def _connect(at: postgres_url.Address) -> Any:
    return await asyncpg.connect(
        host=at.host,
        port=at.port,
        user=at.user,
        password=at.password,
        database=at.database,
        ssl=False if at.host.startswith("/") else at.sslmode,
        timeout=_GREETING,
        command_timeout=_PATIENCE,
        server_settings={"application_name": "pubsub-standin", "timezone": "UTC"},
    )
