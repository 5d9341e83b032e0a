"""The tables of the event store have the columns and the keys that the brief names."""

from typing import Any

from progress.adapters.postgres.database import Connection

EVENTS = {
    "global_position": "bigint",
    "event_id": "uuid",
    "stream_id": "text",
    "stream_version": "bigint",
    "event_type": "text",
    "event_data": "jsonb",
    "metadata": "jsonb",
    "occurred_at": "timestamp with time zone",
    "created_at": "timestamp with time zone",
    "shard": "smallint",
}
SNAPSHOTS = {
    "stream_id": "text",
    "stream_version": "bigint",
    "fingerprint": "text",
    "newest_occurred_at": "timestamp with time zone",
    "state": "jsonb",
    "taken_at": "timestamp with time zone",
    "quarantined": "bigint[]",
}

_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod)
FROM pg_attribute
WHERE attrelid = CAST(:name AS regclass) AND attnum > 0 AND attnotnull
ORDER BY attnum
"""
_INDEXES = """
SELECT i.indisunique, (
    SELECT string_agg(a.attname, ' ' ORDER BY k.place)
    FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE k.place <= i.indnkeyatts)
FROM pg_index i
WHERE i.indrelid = CAST(:name AS regclass) AND i.indpred IS NULL
"""


def read(connection: Connection, query: str, name: str) -> Any:
    return connection.run(query, name=f"event_store.{name}")


def test_no_column_of_the_log_and_of_the_snapshots_can_be_null(connection: Connection) -> None:
    assert dict(read(connection, _COLUMNS, "events")) == EVENTS
    assert dict(read(connection, _COLUMNS, "snapshots")) == SNAPSHOTS


def test_the_log_has_an_index_for_each_way_to_read_it(connection: Connection) -> None:
    assert sorted(map(tuple, read(connection, _INDEXES, "events"))) == [
        (False, "event_type global_position"),
        (True, "event_id"),
        (True, "global_position"),
        (True, "shard global_position"),
        (True, "stream_id stream_version"),
    ]
    (key,) = read(connection, _INDEXES, "snapshots")
    assert key == [True, "stream_id stream_version fingerprint"]
