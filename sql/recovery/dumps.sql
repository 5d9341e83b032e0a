-- Dump the log and the operations, and load them into an empty database. A dump reads all tables in one snapshot.

-- begin --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- tables --
-- The tables, each with the statements that read and load it. A table comes after the tables that it refers to. The
-- snapshots of learners are left out, because the batch job takes new ones after a rebuild, and read models, too.
SELECT n.nspname || '.' || c.relname AS name,
    CAST(greatest(c.reltuples, 0) AS bigint) AS rows,
    format('COPY %I.%I (%s) TO STDOUT', n.nspname, c.relname, a.columns) AS copy_out,
    format('COPY %I.%I (%s) FROM STDIN', n.nspname, c.relname, a.columns) AS copy_in,
    format('DELETE FROM %I.%I', n.nspname, c.relname) AS emptied  -- a migration may have filled it
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) a
WHERE n.nspname IN ('event_store', 'operations') AND c.relkind = 'r'
  AND c.relname NOT IN ('snapshots', 'read_models')
ORDER BY EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'), name;

-- sequences --
-- The last number of each sequence, read after the rows, so that no row has a higher number.
SELECT schemaname || '.' || sequencename AS name, last_value AS number
FROM pg_sequences
WHERE schemaname IN ('event_store', 'operations') AND last_value IS NOT NULL;

-- set sequence --
SELECT setval(CAST(:name AS regclass), :number);

-- has log --
SELECT to_regclass('event_store.events') IS NOT NULL;

-- head --
SELECT coalesce(max(global_position), 0) AS head FROM event_store.events;

-- since --
-- When the log's first event was recorded; no time if the log is empty.
SELECT min(created_at) FROM event_store.events WHERE global_position = 1;

-- sum log --
-- The number of events up to a position, and a sum of what an erasure leaves of each.
SELECT count(*), sum(hashtextextended(concat_ws(' ', e.global_position, e.shard, extract(epoch FROM e.created_at)), 0))
FROM event_store.events e
WHERE e.global_position <= :upto;

-- create scratch --
CREATE DATABASE {name};

-- drop scratch --
DROP DATABASE {name} WITH (FORCE);

-- lock serve --
-- A running `progress serve` holds this lock of its session.
SELECT pg_try_advisory_lock(hashtextextended('progress.serve', 0));

-- unlock serve --
SELECT pg_advisory_unlock(hashtextextended('progress.serve', 0));

-- hold appends --
-- The locks that an append and an erasure take, in their order.
SELECT pg_advisory_xact_lock(hashtextextended('event_store.erased', 0)),
    pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

-- find rows --
-- The statement that locks the tables of the schemas that `drop` drops, and the one that returns those with rows; no
-- row if there are no tables. The tables that are left out have no rows of anybody's. Those in `progress` are not ours.
SELECT 'LOCK TABLE ' || string_agg(t.name, ', ') || ' IN ACCESS EXCLUSIVE MODE' AS lock,
    string_agg(format('SELECT %L AS name WHERE EXISTS (SELECT FROM %s)', t.name, t.name), ' UNION ALL ')
        FILTER (WHERE t.name NOT IN ('event_store.erasure_key', 'event_store.letter_bytes',
            'event_store.milestone_definitions', 'event_store.publisher_checkpoints', 'event_store.read_models'))
        || ' ORDER BY name' AS find
FROM (
    SELECT format('%I.%I', n.nspname, c.relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('event_store', 'operations', 'progress') AND c.relkind IN ('r', 'p')
) t
HAVING count(*) > 0;

-- drop --
-- The statements that drop the log, the operations, the views of analysts and every schema of read models. Schemas with
-- these names are another program's where the log's table of erased learners is not there, too.
SELECT 'DROP SCHEMA ' || string_agg(quote_ident(n.nspname), ', ') || ' CASCADE'
FROM pg_namespace n
WHERE (n.nspname IN ('event_store', 'operations', 'progress') OR n.nspname ~ '^progress_[0-9a-f]{12}(_|$)')
  AND to_regclass('event_store.erased') IS NOT NULL
HAVING count(*) > 0
UNION ALL
SELECT 'DROP TABLE IF EXISTS public.progress_migrations, public.progress_functions';
