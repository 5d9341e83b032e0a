-- Statements that search a database for a text, and statements that write rows that an erasure must find.

-- tables --
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1;

-- statistics --
SELECT schemaname || '.' || tablename || '.' || attname FROM pg_stats
WHERE schemaname NOT LIKE 'pg\_temp%'  -- temporary tables of a batch run
  AND strpos(concat(most_common_vals::text, histogram_bounds::text, most_common_elems::text), :needle) > 0;

-- poison --
-- Mark the learner's first answer as poisoned, as a worker does with an event that it cannot fold.
SELECT event_store.mark_poisoned(
    '0123456789ab', min(global_position), 'invalid input: "' || CAST(:marker AS text) || '"')
FROM event_store.events WHERE stream_id = 'learner-' || CAST(:learner AS text) AND event_type = 'CorrectAnswerGiven';

-- leave accesses --
-- Somebody has read the learner's record, and the learner that of Ann.
SELECT event_store.record_accesses('ada', 'admin', ARRAY[CAST(:learner AS text)]),
    event_store.record_accesses(:learner, 'teacher', '{ann}');

-- accesses --
SELECT DISTINCT user_id, read_by, role FROM event_store.accesses ORDER BY user_id, read_by, role;

-- versions --
-- For each stream of erased events, return the number of events, whether all events are in the stream's shard, and
-- whether their versions are 1, 2, 3 …
SELECT stream_id, count(*), bool_and(shard = event_store.shard_of(stream_id)),
    count(*) = max(stream_version) AND min(stream_version) = 1 AND count(DISTINCT stream_version) = count(*)
FROM event_store.events WHERE stream_id LIKE 'erased-%' GROUP BY 1 ORDER BY 1;

-- erased rows --
SELECT count(*), bool_and(event_data = '{}' AND metadata = '{}' AND occurred_at = created_at AND event_type = 'Erased')
FROM event_store.events WHERE stream_id LIKE 'erased-%' OR event_type = 'Erased';

-- leave rows --
-- Write rows that name the learner, like those that an incomplete erasure leaves behind.
WITH marks AS (
    INSERT INTO deleted_learners VALUES (:learner, 1)
), letters AS (
    INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message, reason, owners, payload)
    VALUES ('invalid', '', 'left', 0, 'left', event_store.stored_owners(ARRAY['learner:' || CAST(:learner AS text)]),
        jsonb_build_object('data', jsonb_build_object('user_id', CAST(:learner AS text)))::text)
), waiting AS (
    INSERT INTO event_store.pending (event_id, session_id, event_type, event_data, metadata, occurred_at)
    VALUES (gen_random_uuid(), 'left', 'CorrectAnswerGiven', '{}',
        jsonb_build_object('user_id', CAST(:learner AS text)), clock_timestamp())
), states AS (
    INSERT INTO event_store.snapshots VALUES ('learner-' || CAST(:learner AS text), 1, '', clock_timestamp(), '{}')
)
INSERT INTO event_store.events
SELECT max(e.global_position) + 1, gen_random_uuid(), 'learner-' || CAST(:learner AS text), 1, 'Unheard', '{}', '{}',
    clock_timestamp(), clock_timestamp(), event_store.shard_of('learner-' || CAST(:learner AS text))
FROM event_store.events e;

-- search --
SELECT t::text FROM searched_table t WHERE strpos(t::text, :needle) > 0;

-- begin batch run --
-- Take the locks that a batch run holds after it has read the learners' days. The block `end batch run` simulates the
-- end of the run.
SELECT pg_advisory_xact_lock(hashtext('batch ' || current_schema()), s) FROM generate_series(0, 15) s;

-- end batch run --
SELECT delete_batch_rows(ARRAY(SELECT user_id FROM deleted_learners)) FROM (
    SELECT pg_advisory_xact_lock_shared(hashtext('reading ' || current_schema()), s) FROM generate_series(0, 15) s
) locks;

-- copy weeks --
-- Copy the rows of weekly_stats. Later, the block `write weeks` writes these rows again, as a batch run would.
CREATE TEMPORARY TABLE weeks AS TABLE weekly_stats;

-- write weeks --
INSERT INTO weekly_stats TABLE weeks ON CONFLICT DO NOTHING;

-- forget earlier --
-- The step `forget` of an erasure has ended so many seconds earlier.
UPDATE operations.steps
SET outcome = outcome || jsonb_build_object('forgotten_at',
    CAST(outcome ->> 'forgotten_at' AS timestamptz) - make_interval(secs => :seconds))
WHERE operation_id = CAST(:id AS uuid) AND name = 'forget';
