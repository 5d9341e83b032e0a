-- Fill an empty log from the archive, in one transaction. progress/archive/restore.py runs these blocks in PostgreSQL.

-- hold appends --
SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

-- is empty --
SELECT NOT EXISTS (SELECT FROM event_store.events) AND NOT EXISTS (SELECT FROM event_store.sessions);

-- load --
COPY event_store.events (global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    occurred_at, created_at, shard)
FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8');

-- load erased rows --
-- Load emptied rows. In the shards' streams of emptied events, the versions are numbered 1, 2, 3 … again: first the
-- rows whose versions the archive holds, in the order of these versions, then the others. Rows that stayed in their
-- streams keep their versions.
WITH erased AS (
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS r (
        position bigint, shard smallint, recorded_at timestamptz, event_id uuid, stream_version bigint, stream_id text)
)
INSERT INTO event_store.events (global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    occurred_at, created_at, shard)
SELECT e.position, coalesce(e.event_id, gen_random_uuid()), coalesce(e.stream_id, event_store.erased_stream(e.shard)),
    CASE WHEN e.stream_id IS NOT NULL THEN e.stream_version ELSE row_number() OVER (
        PARTITION BY e.shard, e.stream_id IS NULL ORDER BY e.stream_version NULLS LAST, e.position) END,
    'Erased', '{}', '{}', e.recorded_at, e.recorded_at, e.shard
FROM erased e;

-- load sessions --
-- A session belongs to the learner of its first SessionStarted.
INSERT INTO event_store.sessions (session_id, user_id)
SELECT DISTINCT ON (e.event_data ->> 'session_id')
    e.event_data ->> 'session_id', substr(e.stream_id, length('learner-') + 1)
FROM event_store.events e
WHERE e.event_type = 'SessionStarted'
ORDER BY e.event_data ->> 'session_id', e.global_position;

-- misplaced --
-- The number of rows that have another shard than the one that this server computes from their stream.
SELECT count(*) FROM event_store.events e WHERE e.shard <> event_store.shard_of(e.stream_id);

-- analyze --
ANALYZE event_store.events, event_store.sessions;
