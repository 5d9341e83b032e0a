"""The windows of messages that leave the system: read, and behind the publisher's checkpoint."""

from collections.abc import Generator, Sequence

from progress.adapters.postgres import database
from progress.adapters.postgres.database import Connection
from progress.event_store.outgoing import Row
from progress.settings import Settings

_FILE = "event_store/publication"


def has_messages(connection: Connection, shard: int, settings: Settings) -> bool:
    values = {"shard": shard, "setting": settings.publish_events}
    return bool(database.run(connection, _FILE, "has messages", **values)[0][0])


def lock_each(
    connection: Connection, shard: int, settings: Settings, *, at_most: int, max_bytes: int
) -> Generator[list[Row]]:
    """Yield the next window, while this session holds the shard, until nothing is left.

    Return early if another session holds the shard: it looks again after it has released it.
    """
    is_everything = settings.publish_events == "all"
    limits = {"is_everything": is_everything, "at_most": at_most, "max_bytes": max_bytes}
    while database.run(connection, _FILE, "lock", shard=shard)[0][0]:
        try:
            rows = database.run(connection, _FILE, "next messages", shard=shard, **limits)
            yield [Row(*row) for row in rows]
        finally:
            database.run(connection, _FILE, "unlock", shard=shard)
        if not has_messages(connection, shard, settings):
            return


def move(connection: Connection, shard: int, rows: Sequence[Row]) -> None:
    """Move the shard's checkpoint past rows whose messages were accepted."""
    if announcements := [str(row.event_id) for row in rows if row.kind == "announced"]:
        database.run(connection, _FILE, "record announcements", announcements=announcements)
    position = max((row.position for row in rows if row.position is not None), default=0)
    mark = max((row.mark for row in rows if row.mark is not None), default=0)
    database.run(connection, _FILE, "move", shard=shard, position=position, mark=mark)


def record_failure(connection: Connection, shard: int, answer: str) -> None:
    """Record why the shard's next message was not accepted."""
    database.run(connection, _FILE, "record failure", shard=shard, answer=answer)
