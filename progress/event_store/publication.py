"""The publisher of the events, milestones and announcements that leave the system.

It reads the committed rows of a shard after the shard's checkpoint, and moves the checkpoint once
Pub/Sub has accepted the messages. A crash repeats messages and loses none. One worker at a time
publishes a shard, so that the messages of a stream keep their order. A worker that finds the shard
locked returns, because the holder looks for new messages once more after it has released the lock.
"""

import functools
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.adapters.pubsub import clients, wakeups
from progress.adapters.pubsub.wakeups import Outage
from progress.adapters.telemetry import logs, tracing
from progress.errors import PubSubUnavailable
from progress.event_store import outgoing
from progress.settings import Settings

_FILE = "event_store/publication"
_AT_MOST = 10_000  # events in one window: many, because a request has the messages of one stream
_MAX_BYTES = 4_000_000  # of data in one window; Pub/Sub accepts 10 MB in one request
_MAX_MESSAGES = 1_000  # Pub/Sub's limit for one request
_REQUESTS = 16  # at the same time
_TIMEOUT_S = 10.0  # for each request


class _Row(NamedTuple):
    """A message, or the end of a window: the checkpoint after it."""

    position: int | None
    mark: int | None
    kind: outgoing.Kind
    event_type: str
    event_id: UUID | None
    stream_id: str
    committed_at: datetime
    data: str | None


@functools.cache
def outage() -> Outage:
    """Return the pause after a failure, which all threads of this process share."""
    return Outage()


def publish(connection: Connection, shard: int, settings: Settings) -> int:
    """Publish what the shard has committed since its checkpoint; return the number of messages.

    Return early if another worker is publishing the shard. Raise PubSubUnavailable if Pub/Sub does
    not accept a message, and for five seconds afterwards; raise DatabaseUnavailable.
    """
    published = 0
    with database.translate_errors():
        values = {"shard": shard, "setting": settings.publish_events}
        while database.run(connection, _FILE, "has messages", **values)[0][0]:
            if not outage().is_over:
                raise PubSubUnavailable("not published: Pub/Sub failed less than 5 s ago")
            if not database.run(connection, _FILE, "lock", shard=shard)[0][0]:
                return published
            try:
                published += _publish_window(connection, shard, settings)
            finally:
                database.run(connection, _FILE, "unlock", shard=shard)
    return published


def publish_shards(connection: Connection, shards: Iterable[int], settings: Settings) -> bool:
    """Publish several shards; if Pub/Sub fails, write a log line and return False."""
    try:
        for shard in shards:
            publish(connection, shard, settings)
    except PubSubUnavailable as error:
        logs.write("WARNING", f"events are published later: {error}")
        return False
    return True


def _publish_window(connection: Connection, shard: int, settings: Settings) -> int:
    is_everything = settings.publish_events == "all"
    limits = {"at_most": _AT_MOST, "max_bytes": _MAX_BYTES}
    values = {"shard": shard, "is_everything": is_everything, **limits}
    window = [_Row(*row) for row in database.run(connection, _FILE, "next messages", **values)]
    messages = [row for row in window if row.data is not None]
    if messages:
        _send(messages, settings)
    if announcements := [str(row.event_id) for row in messages if row.kind == "announced"]:
        database.run(connection, _FILE, "record announcements", announcements=announcements)
    position = max((row.position for row in window if row.position is not None), default=0)
    mark = max((row.mark for row in window if row.mark is not None), default=0)
    database.run(connection, _FILE, "move", shard=shard, position=position, mark=mark)
    return len(messages)


def _send(messages: Sequence[_Row], settings: Settings) -> None:
    """Send the messages; return once Pub/Sub has accepted all of them.

    A request has the messages of one stream, because Pub/Sub accepts only one ordering key in a
    request. The streams are independent, so their requests run in parallel.
    """
    project = settings.pubsub_project_id
    streams: dict[str, list[dict[str, Any]]] = {}
    for row in messages:
        streams.setdefault(row.stream_id, []).append(_encode(row, f"//progress/{project}"))
    topic = f"projects/{project}/topics/{outgoing.TOPIC}"
    attributes = wakeups.publish_attributes(outgoing.TOPIC)

    emulator = settings.pubsub_emulator_host

    def send(stream: list[dict[str, Any]]) -> None:
        for start in range(0, len(stream), _MAX_MESSAGES):
            part = stream[start : start + _MAX_MESSAGES]
            clients.publish(topic, part, emulator=emulator, timeout_s=_TIMEOUT_S)

    with tracing.child_span(f"publish {outgoing.TOPIC}", "producer", attributes) as span:
        span.set_attribute("messaging.batch.message_count", len(messages))
        try:
            _run_all(send, [*streams.values()])
        except PubSubUnavailable:
            outage().begin()
            raise


def _run_all(send: Any, streams: list[Any]) -> None:
    """Call `send` with each stream. After an error, begin no further call; wait for the others."""
    if len(streams) == 1:
        send(streams[0])
        return
    with ThreadPoolExecutor(min(_REQUESTS, len(streams))) as pool:
        running = [pool.submit(send, stream) for stream in streams]
        try:
            for sent in running:
                sent.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _encode(row: _Row, source: str) -> dict[str, Any]:
    data = (row.data or "").encode()
    message_id = row.event_id or msgspec.json.decode(data, type=outgoing.MilestoneReached).id
    attributes = outgoing.make_attributes(
        row.kind, row.event_type, message_id,
        subject=row.stream_id, time=row.committed_at, source=source,
    )  # fmt: skip
    return {"data": data, "attributes": attributes, "ordering_key": row.stream_id}
