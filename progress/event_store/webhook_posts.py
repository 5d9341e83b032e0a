"""Messages of the publisher that leave by WEBHOOK_URL, one in a request.

The checkpoint moves after each message that the receiver has accepted, so a crash repeats one. On
one machine a thread of the project function posts, because a wake-up cannot wait for a receiver.
"""

import asyncio
import contextlib
import contextvars
import os
import threading
import time
from collections.abc import AsyncIterator

import aiohttp

from progress.adapters import webhook
from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.telemetry import logs
from progress.errors import Unavailable, WebhookUnavailable
from progress.event_store import outgoing, windows
from progress.settings import Settings

_AT_MOST, _MAX_BYTES = 100, 1_000_000  # events of one window, and bytes
_FRESH_S = 10.0  # the age of a window that is read again, since an erasure may have emptied events
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 60.0


async def post(
    connection: Connection, shard: int, settings: Settings, session: aiohttp.ClientSession
) -> AsyncIterator[None]:
    """Post what the shard has committed since its checkpoint; yield after each message.

    Raise WebhookUnavailable if the receiver does not accept one, and DatabaseUnavailable.
    """
    found = windows.lock_each(connection, shard, settings, at_most=_AT_MOST, max_bytes=_MAX_BYTES)
    with database.translate_errors(), contextlib.closing(found):
        for window in found:
            stale_at = time.monotonic() + _FRESH_S
            for row in window:
                if row.data is not None:
                    attributes = row.make_attributes(settings.pubsub_project_id)
                    body = outgoing.make_structured(attributes, row.data)
                    try:
                        await webhook.post(session, attributes["ce-id"], body, settings)
                    except WebhookUnavailable as error:
                        windows.record_failure(connection, shard, str(error))
                        raise
                windows.move(connection, shard, [row])
                if row.data is not None:
                    yield
                if time.monotonic() > stale_at:
                    break


def publish(connection: Connection, shard: int, settings: Settings) -> int:
    """Post the shard's messages, as `post`; return their number.

    A function of one machine only wakes its thread that posts, and returns 0.
    """
    if settings.serve_key:
        wake(shard, settings)
        return 0

    async def count() -> int:
        async with webhook.open_session() as session:
            return len([None async for _ in post(connection, shard, settings, session)])

    return asyncio.run(count())


class PostingThread:
    """A thread that posts the messages of all shards, each on its own, over one connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stopping = settings, asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._connection: Connection | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)
        self._thread.start()

    def wake(self, shard: int) -> None:
        """Post what the shard has, unless it waits for another attempt."""
        self._loop.call_soon_threadsafe(self._begin, shard, context=contextvars.Context())

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with self._runner:
            self._runner.run(self._stopping.wait())
        self._close(self._connection)

    def _begin(self, shard: int) -> None:
        if shard not in self._tasks or self._tasks[shard].done():
            self._tasks[shard] = self._loop.create_task(self._post_all(shard))

    async def _post_all(self, shard: int) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            connection = None
            try:
                connection = self._connection or database.connect(self._settings, name="webhook")
                self._connection = connection
                async with webhook.open_session() as session:
                    async for _ in post(connection, shard, self._settings, session):
                        pause = _FIRST_PAUSE_S
                return
            except (Unavailable, *database.ERRORS) as error:
                logs.write("WARNING", f"events of shard {shard} leave later: {error}")
                if not isinstance(error, WebhookUnavailable):
                    self._close(connection)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LAST_PAUSE_S)

    def _close(self, connection: Connection | None) -> None:
        """Close a connection that failed, unless another shard has replaced it."""
        if connection is not None and connection is self._connection:
            self._connection = None
            database.close(connection)


def wake(shard: int, settings: Settings) -> None:
    """Let the thread of this process post what the shard has; a thread does not survive a fork."""
    with _mutex:
        if (key := (os.getpid(), settings)) not in posters:
            posters[key] = PostingThread(settings)
    posters[key].wake(shard)


posters: dict[tuple[int, Settings], PostingThread] = {}
_mutex = threading.Lock()
