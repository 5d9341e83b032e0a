-- Dump the log and the operations, and load them into an empty database. A dump reads all tables in one snapshot, which
-- the block `begin` of backups.sql opens.

-- tables --
-- The tables, each with the statements that read and load it. A table comes after the tables that it refers to. The
-- snapshots of learners are left out, because the batch job takes new ones after a rebuild, and the sums of letters'
-- bytes, because the load of the letters computes them.
SELECT n.nspname || '.' || c.relname AS name,
    CAST(greatest(c.reltuples, 0) AS bigint) AS rows,
    format('COPY %I.%I (%s) TO STDOUT', n.nspname, c.relname, a.columns) AS copy_out,
    format('COPY %I.%I (%s) FROM STDIN', n.nspname, c.relname, a.columns) AS copy_in
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) a
WHERE n.nspname IN ('event_store', 'operations') AND c.relkind = 'r'
  AND c.relname NOT IN ('snapshots', 'letter_bytes')
ORDER BY EXISTS (SELECT FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f'), name;

-- forget definitions --
-- The dump says since when the loaded log's milestones have their definition.
DELETE FROM event_store.milestone_definitions;

-- sequences --
-- The last number of each sequence, read after the rows, so that no row has a higher number.
SELECT schemaname || '.' || sequencename AS name, last_value AS number
FROM pg_sequences
WHERE schemaname IN ('event_store', 'operations') AND last_value IS NOT NULL;

-- set sequence --
SELECT setval(CAST(:name AS regclass), :number);

-- head --
SELECT coalesce(max(global_position), 0) AS head FROM event_store.events;

