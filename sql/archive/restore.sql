-- Fill an empty log from the archive, in one transaction. progress/archive/restore.py runs these blocks in PostgreSQL.

-- hold appends --
SELECT pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

-- is empty --
SELECT NOT EXISTS (SELECT FROM event_store.events) AND NOT EXISTS (SELECT FROM event_store.sessions);

-- columns --
global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    occurred_at, created_at, shard

-- load --
COPY event_store.events ({archive/restore columns}) FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8');

-- erased rows --
-- The erased rows, of which some have neither id nor version, until all of them are there.
CREATE TEMPORARY TABLE erased_rows ON COMMIT DROP AS
SELECT {archive/restore columns} FROM event_store.events WITH NO DATA;

-- keep --
COPY erased_rows ({archive/restore columns}) FROM STDIN WITH (FORMAT csv, ENCODING 'UTF8');

-- load erased rows --
-- In the streams of erased events, the versions are 1, 2, 3 …: first those that are known, in their order.
INSERT INTO event_store.events ({archive/restore columns})
SELECT r.global_position, coalesce(r.event_id, gen_random_uuid()), r.stream_id,
    CASE WHEN r.stream_id LIKE 'erased-%'
         THEN row_number() OVER (PARTITION BY r.stream_id ORDER BY r.stream_version, r.global_position)
         ELSE r.stream_version END,
    r.event_type, r.event_data, r.metadata, r.occurred_at, r.created_at, r.shard
FROM erased_rows r;

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
