-- Statements of the fault tests: queries on a local stack's database, and transactions that a client leaves open.

-- appended --
SELECT count(*) FROM event_store.events;

-- behind --
SELECT count(*) FROM shards_behind;

-- uncounted --
-- 1 if the batch models lack an event up to a position, else 0.
SELECT CAST(is_batch_behind(ARRAY(SELECT shard FROM checkpoints), :upto) AS int);

-- letters --
SELECT kind, reason, payload, message_id, index_in_message FROM event_store.dead_letters ORDER BY letter_id;

-- versions --
-- The number of streams whose versions are not 1, 2, 3 …, and the number of missing positions.
SELECT (SELECT count(*) FROM (
            SELECT FROM event_store.events GROUP BY stream_id
            HAVING max(stream_version) <> count(*) OR min(stream_version) <> 1) s),
       (SELECT coalesce(max(global_position), 0) - count(*) FROM event_store.events);

-- at work --
SELECT count(*) FROM pg_stat_activity WHERE application_name = :name;

-- tables --
-- Return a statement for each table. The statement counts the rows that contain :needle in any column.
SELECT format('SELECT count(*) FROM %I.%I t WHERE strpos(lower(t::text), :needle) > 0', schemaname, tablename)
FROM pg_tables
WHERE schemaname = 'event_store' OR schemaname LIKE 'progress%' OR schemaname = 'operations';

-- foreign table --
CREATE TABLE IF NOT EXISTS public.foreign_things (thing int);

-- hang writing --
BEGIN;

INSERT INTO public.foreign_things VALUES (1);

UPDATE public.foreign_things SET thing = thing + 1;

-- hang reading --
BEGIN ISOLATION LEVEL REPEATABLE READ;

SELECT count(*) FROM event_store.events;

SELECT count(*) FROM user_progress;

-- hang backing up --
-- Lock every table as pg_dump does, so that the definitions of the tables cannot change.
BEGIN ISOLATION LEVEL REPEATABLE READ;

DO $$
DECLARE
    held record;
BEGIN
    FOR held IN SELECT schemaname, tablename FROM pg_tables
                WHERE schemaname = 'event_store' OR schemaname = current_schema() LOOP
        EXECUTE format('LOCK TABLE %I.%I IN ACCESS SHARE MODE', held.schemaname, held.tablename);
    END LOOP;
END $$;

-- clock --
SELECT clock_timestamp();

-- falls --
-- The number of events that were recorded before the event at the position below theirs.
SELECT count(*) FROM event_store.events e JOIN event_store.events f ON f.global_position = e.global_position - 1
WHERE e.created_at < f.created_at;
