-- Statements for tests of the archive. Some change recorded events; outside of tests, only an erasure may do that.

-- rows --
-- Every row of the log as text.
SELECT CAST(e AS text) FROM event_store.events e ORDER BY e.global_position;

-- count --
SELECT count(*) FROM event_store.events;

-- empty stream --
-- Empty the events of a learner, as an erasure does.
UPDATE event_store.events e SET event_id = gen_random_uuid(), event_type = 'Erased', event_data = '{}', metadata = '{}',
    occurred_at = e.created_at, stream_id = event_store.erased_stream(e.shard), stream_version = v.before + v.n
FROM (
    SELECT o.global_position, row_number() OVER (ORDER BY o.global_position) AS n,
        (SELECT coalesce(max(m.stream_version), 0) FROM event_store.events m
         WHERE m.stream_id = event_store.erased_stream(o.shard)) AS before
    FROM event_store.events o WHERE o.stream_id = :stream_id
) v
WHERE e.global_position = v.global_position;

-- redact undeclared --
-- Some events of a learner's sessions are in streams that belong to no learner. Empty these events, as an erasure does,
-- and return their number.
SELECT redacted FROM event_store.redact_undeclared(:learner, 'other-', 0, 100);

-- allow changes --
ALTER TABLE event_store.events DISABLE TRIGGER append_only;

-- forbid changes --
ALTER TABLE event_store.events ENABLE ALWAYS TRIGGER append_only;

-- begin erasure --
-- Mark a learner as erased, as the first step of an erasure does, so that the append drops events of this learner.
WITH operation AS (
    INSERT INTO operations.operations (kind, started_by, key_digest, arguments)
    VALUES ('ERASE_USER', 'ada', sha256(convert_to(:learner, 'UTF8')), jsonb_build_object('user_id', :learner))
    RETURNING operation_id)
INSERT INTO event_store.erased (digest, operation_id)
SELECT event_store.erasure_digest(:learner), o.operation_id FROM operation o;

-- change event --
UPDATE event_store.events SET event_id = gen_random_uuid() WHERE global_position = :position;

-- record later --
UPDATE event_store.events SET created_at = created_at + interval '1 hour' WHERE global_position = :position;

-- sessions --
SELECT session_id, user_id FROM event_store.sessions ORDER BY session_id;

-- now --
SELECT clock_timestamp();

-- age events --
UPDATE event_store.events SET created_at = created_at - interval '31 days';

-- begin another day --
UPDATE operations.operations SET started_at = started_at - interval '1 day', key_digest = sha256(key_digest);

-- insert odd events --
-- For each text in :texts, insert an event that has the text in its stream's id and in its JSON. The times
-- of the events take three values in turn: one microsecond before the end of the year 9999, one microsecond before
-- 1970, and one microsecond after the start of the year 1.
INSERT INTO event_store.events
SELECT n, gen_random_uuid(), 'learner-' || t, 1, 'SessionStarted',
    jsonb_build_object('session_id', n || t, t, ARRAY[t]), jsonb_build_object(t, n),
    CAST(CASE n % 3 WHEN 0 THEN '0001-01-01 00:00:00.000001+00'
        WHEN 1 THEN '9999-12-31 23:59:59.999999+00' ELSE '1969-12-31 23:59:59.999999+00' END AS timestamptz),
    clock_timestamp(), event_store.shard_of('learner-' || t)
FROM jsonb_array_elements_text(CAST(:texts AS jsonb)) WITH ORDINALITY AS u (t, n);

-- set the zone --
SELECT set_config('timezone', 'Pacific/Chatham', false), set_config('datestyle', 'German, DMY', false),
    set_config('intervalstyle', 'sql_standard', false), set_config('extra_float_digits', '-5', false);
