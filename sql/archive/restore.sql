-- Fill an empty log from the archive, in one transaction. progress/archive/restore.py runs these blocks in PostgreSQL.

-- hold appends --
SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

-- is empty --
SELECT NOT EXISTS (SELECT FROM event_store.events) AND NOT EXISTS (SELECT FROM event_store.sessions);

-- load --
COPY event_store.events (global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    occurred_at, created_at, shard)
FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8');

-- erased streams --
-- Each shard's stream of erased events.
SELECT n, event_store.erased_stream(CAST(n AS smallint)) FROM generate_series(0, 15) n;

-- load sessions --
-- A session belongs to the learner of its first SessionStarted.
INSERT INTO event_store.sessions (session_id, user_id)
SELECT DISTINCT ON (e.event_data ->> 'session_id')
    e.event_data ->> 'session_id', substr(e.stream_id, length('learner-') + 1)
FROM event_store.events e
WHERE e.event_type = 'SessionStarted'
ORDER BY e.event_data ->> 'session_id', e.global_position;

-- misplaced --
-- The number of rows whose shard differs from the shard that this server computes for their stream.
SELECT count(*) FROM event_store.events e WHERE e.shard <> event_store.shard_of(e.stream_id);

-- analyze --
ANALYZE event_store.events, event_store.sessions;
