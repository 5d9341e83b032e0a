-- The event log and the snapshots of its streams: the statements of progress/event_store/log.py.

-- append --
SELECT to_json(event_store.append(:batch));

-- event --
-- The event e as JSON, with the names of the columns; msgspec builds a StoredEvent from it. There is one text for each
-- event, because one for a page of large events would exceed PostgreSQL's limit of 1 GB.
CAST(to_json(e) AS text)

-- read stream --
SELECT {event_store/log event}
FROM event_store.events e
WHERE stream_id = :stream_id
  AND stream_version >= :from_version
  AND stream_version <= coalesce(:to_version::bigint, 9223372036854775807)
ORDER BY stream_version;

-- read all --
SELECT {event_store/log event}
FROM event_store.events e
WHERE global_position >= :from_position
ORDER BY global_position
LIMIT :limit;

-- read type --
-- Later positions have later times, so the index of types and positions finds both the type and the times.
SELECT {event_store/log event}
FROM event_store.events e
WHERE event_type = :event_type
  AND global_position >= :from_position
  AND global_position >= event_store.position_at(:from_timestamp)
  AND global_position < coalesce(
      event_store.position_at(:to_timestamp::timestamptz + interval '1 microsecond'), 9223372036854775807)
ORDER BY global_position
LIMIT :limit;

-- position at --
-- The position of the first event that was recorded at this time or later; the next position if there is none.
SELECT coalesce(event_store.position_at(:at), (SELECT coalesce(max(global_position), 0) + 1 FROM event_store.events));

-- newest --
-- Of the events at or after :from_position, take the newest :limit; return the lowest of their positions, or
-- :from_position if there are no such events.
SELECT coalesce(min(n.global_position), :from_position)
FROM (
    SELECT e.global_position
    FROM event_store.events e
    WHERE e.global_position >= :from_position
      AND (CAST(:event_type AS text) IS NULL OR e.event_type = :event_type)
    ORDER BY e.global_position DESC
    LIMIT :limit
) n;

-- save snapshot --
SELECT event_store.save_snapshot(:stream_id, :stream_version, :fingerprint, :newest_occurred_at, :state, :kept);

-- latest snapshot --
SELECT stream_id, stream_version, fingerprint, newest_occurred_at, state, taken_at
FROM event_store.snapshots
WHERE stream_id = :stream_id AND fingerprint = coalesce(:fingerprint, fingerprint)
  -- without a fingerprint, no state of read models that a rebuild or another release has replaced
  AND (:fingerprint::text IS NOT NULL OR fingerprint !~ '^[0-9a-f]{12}-[0-9]+$' OR EXISTS (
      SELECT FROM pg_namespace n WHERE substr(n.nspname, 10) || '-' || n.oid = fingerprint))
ORDER BY stream_version DESC, taken_at DESC
LIMIT 1;
