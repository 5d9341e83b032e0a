-- Statements that record an operation's changes, damage the store or hold locks.

-- record changes --
-- Install a trigger that records every change of an operation, in order.
CREATE TABLE public.changes (change bigint GENERATED ALWAYS AS IDENTITY, version bigint, progress float8, state text);
CREATE FUNCTION public.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.changes (version, progress, state) VALUES (NEW.version, NEW.progress, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER record_change AFTER INSERT OR UPDATE ON operations.operations
FOR EACH ROW EXECUTE FUNCTION public.record_change();

-- list changes --
SELECT version, progress, state FROM public.changes ORDER BY change;

-- damage read models --
-- Damage the read models as a faulty fold might.
UPDATE user_progress SET answers = answers + 1;

-- hold the log --
LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE;

-- hold rebuilds --
SELECT pg_advisory_lock(hashtext('rebuild'), 0);

-- workers --
-- The number of open sessions of operation workers.
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'operation' AND datname = current_database();

-- late sessions --
SELECT count(*) FROM event_store.events WHERE event_data ->> 'session_id' = 'late';

-- fix payload --
-- Make the payload valid. The next replay then succeeds, as it would if the violated rule were relaxed.
UPDATE event_store.dead_letters SET payload = replace(payload, '-99999', '9') WHERE letter_id = :letter_id;

-- hold the swap --
-- Take the lock that the worker of shard 3 takes. The swap of a rebuild waits for this lock.
SELECT pg_advisory_xact_lock(hashtext(current_schema()), 3);

-- retire read models --
-- Rename the live schema, as the swap of a rebuild does.
DO $$ BEGIN
    EXECUTE format('ALTER SCHEMA %I RENAME TO retired', current_schema());
END $$;

-- set remaining time --
UPDATE operations.operations SET expires_at = clock_timestamp() + CAST(:remaining AS interval)
WHERE operation_id = CAST(:operation_id AS uuid);

-- set kind --
UPDATE operations.operations SET kind = :kind WHERE operation_id = CAST(:operation_id AS uuid);

-- age the end --
UPDATE operations.operations SET finished_at = finished_at - interval '61 minutes'
WHERE operation_id = CAST(:operation_id AS uuid);

-- age dead letters --
UPDATE event_store.dead_letters
SET received_at = received_at - make_interval(days => CAST(:days AS integer)),
    replayed_at = replayed_at - make_interval(days => CAST(:days AS integer)),
    discarded_at = discarded_at - make_interval(days => CAST(:days AS integer));

-- let the log be changed --
ALTER TABLE event_store.events DISABLE TRIGGER append_only;

-- age deletions --
UPDATE event_store.events SET created_at = created_at - make_interval(days => CAST(:days AS integer))
WHERE event_type = 'UserDeleted';

-- let pass --
-- What was recorded and announced before was so much earlier.
WITH e AS (
    UPDATE event_store.events SET created_at = created_at - CAST(:time AS interval)
), a AS (
    UPDATE event_store.erasure_announcements
    SET silent_since = silent_since - CAST(:time AS interval), erase_on = erase_on - CAST(:time AS interval),
        announced_at = announced_at - CAST(:time AS interval), published_at = published_at - CAST(:time AS interval)
)
UPDATE user_progress SET last_updated = last_updated - CAST(:time AS interval);

-- erasures --
SELECT o.subject FROM operations.operations o WHERE o.kind = 'ERASE_USER' ORDER BY o.number;

-- lessons --
-- The number of events of each learner's stream, without the learners that are deleted or erased.
SELECT substr(stream_id, 9), count(*) FROM event_store.events WHERE stream_id LIKE 'learner-%' GROUP BY 1;

-- forget operations --
DELETE FROM operations.operations;

-- finish operations --
INSERT INTO operations.operations (kind, state, started_by, key_digest, arguments, progress, result, finished_at)
SELECT 'RUN_BATCH', 'SUCCEEDED', 'pages', sha256(CAST(CAST(gen_random_uuid() AS text) AS bytea)), '{}', 1, '{}',
    clock_timestamp()
FROM generate_series(1, CAST(:count AS integer));
