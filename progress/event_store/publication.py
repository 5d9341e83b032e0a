"""The publisher of the events, milestones and announcements that leave the system.

It reads the committed rows of a shard after the shard's checkpoint, and moves the checkpoint once
Pub/Sub, or the receiver at WEBHOOK_URL, has accepted the messages. A crash repeats messages and
loses none. One worker at a time publishes a shard, so that the messages of a stream keep their
order. A worker that finds the shard locked returns, because the holder looks for new messages once
more after it has released the lock.
"""

import contextlib
import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import clients, wakeups
from progress.adapters.pubsub.wakeups import Outage
from progress.adapters.telemetry import logs, tracing
from progress.errors import PubSubUnavailable
from progress.event_store import outgoing, windows
from progress.event_store.outgoing import Row
from progress.settings import Settings

_AT_MOST = 10_000  # events in one window: many, because a request has the messages of one stream
_MAX_BYTES = 4_000_000  # of data in one window; Pub/Sub accepts 10 MB in one request
_MAX_MESSAGES = 1_000  # Pub/Sub's limit for one request
_REQUESTS = 16  # at the same time
_TIMEOUT_S = 10.0  # for each request


@functools.cache
def outage() -> Outage:
    """Return the pause after a failure, which all threads of this process share."""
    return Outage()


def publish(connection: Connection, shard: int, settings: Settings) -> int:
    """Publish what the shard has committed since its checkpoint; return the number of messages.

    Return early if another worker is publishing the shard. Raise PubSubUnavailable if a message is
    not accepted and, of Pub/Sub, for five seconds afterwards; raise DatabaseUnavailable.
    """
    with database.translate_errors():
        if not windows.has_messages(connection, shard, settings):
            return 0
        if not settings.webhook_url:
            return _publish_windows(connection, shard, settings)
        from progress.event_store import webhook_posts  # its import takes 100 ms

        return webhook_posts.publish(connection, shard, settings)


def publish_shards(connection: Connection, shards: Iterable[int], settings: Settings) -> bool:
    """Publish several shards; if Pub/Sub fails, write a log line and return False.

    On one machine with WEBHOOK_URL, only wake the project function, which posts.
    """
    if settings.webhook_url and settings.serve_key:
        return wakeups.send(shards)
    try:
        for shard in shards:
            publish(connection, shard, settings)
    except PubSubUnavailable as error:
        logs.write("WARNING", f"events are published later: {error}")
        return False
    return True


def _publish_windows(connection: Connection, shard: int, settings: Settings) -> int:
    published = 0
    found = windows.lock_each(connection, shard, settings, at_most=_AT_MOST, max_bytes=_MAX_BYTES)
    with contextlib.closing(found):
        for window in found:
            if not outage().is_over:
                raise PubSubUnavailable("not published: Pub/Sub failed less than 5 s ago")
            messages = [row for row in window if row.data is not None]
            if messages:
                _send(messages, settings)
            windows.move(connection, shard, window)
            published += len(messages)
    return published


def _send(messages: Sequence[Row], settings: Settings) -> None:
    """Send the messages; return once Pub/Sub has accepted all of them.

    A request has the messages of one stream, because Pub/Sub accepts only one ordering key in a
    request. The streams are independent, so their requests run in parallel.
    """
    project, streams = settings.pubsub_project_id, dict[str, list[dict[str, Any]]]()
    for row in messages:
        stream = streams.setdefault(row.stream_id, [])
        data, order = (row.data or "").encode(), {"ordering_key": row.stream_id}
        stream.append({"data": data, "attributes": row.make_attributes(project), **order})
    topic, emulator = f"projects/{project}/topics/{outgoing.TOPIC}", settings.pubsub_emulator_host

    def send(stream: list[dict[str, Any]]) -> None:
        for start in range(0, len(stream), _MAX_MESSAGES):
            part = stream[start : start + _MAX_MESSAGES]
            clients.publish(topic, part, emulator=emulator, timeout_s=_TIMEOUT_S)

    attributes = wakeups.publish_attributes(outgoing.TOPIC)
    with tracing.child_span(f"publish {outgoing.TOPIC}", "producer", attributes) as span:
        span.set_attribute("messaging.batch.message_count", len(messages))
        pool = ThreadPoolExecutor(min(_REQUESTS, len(streams)))
        try:
            for sent in [pool.submit(send, stream) for stream in streams.values()]:
                sent.result()
        except PubSubUnavailable:
            outage().begin()
            raise
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, begin no further call
