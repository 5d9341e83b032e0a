-- A rebuild: fold the read models in a second schema, then swap it with the live one.

-- lock --
-- Take the lock of rebuilds for the connection, if it is free. Two more locks say what holds it and since when, and by
-- when the holder releases it, in seconds since 2020. Locks say this, because every role may read pg_locks, but not the
-- times of other roles' sessions. They end with the session, even if it is killed.
WITH attempt AS MATERIALIZED (
    SELECT pg_try_advisory_lock(hashtext('rebuild'), 0) AS is_taken,
        CAST(extract(epoch FROM clock_timestamp() - timestamptz '2020-01-01 00:00Z') AS integer) AS since)
SELECT a.is_taken, a.since, e.until,
    CASE WHEN a.is_taken THEN pg_advisory_lock(hashtext('rebuild since ' || CAST(:holder AS text)), a.since) END,
    CASE WHEN a.is_taken THEN pg_advisory_lock(hashtext('rebuild until'), e.until) END
FROM attempt a, LATERAL (SELECT a.since + CAST(:limit_s AS integer) AS until) AS e;

-- holder --
-- What holds the lock of rebuilds, since when, and until when; no row if it is free, or if older code holds it.
WITH held AS MATERIALIZED (
    SELECT l.pid, CAST(l.classid AS bigint) AS key, l.objid,
        timestamptz '2020-01-01 00:00Z' + CAST(l.objid AS bigint) * interval '1 second' AS at
    FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
      AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
SELECT k.holder, since.at, until.at
FROM held AS main
JOIN held AS since ON since.pid = main.pid
JOIN unnest(CAST(:holders AS text[])) AS k (holder)
    ON since.key = CAST(hashtext('rebuild since ' || k.holder) AS bigint) & 4294967295
LEFT JOIN held AS until ON until.pid = main.pid
    AND until.key = CAST(hashtext('rebuild until') AS bigint) & 4294967295
WHERE main.key = CAST(hashtext('rebuild') AS bigint) & 4294967295 AND main.objid = CAST(0 AS oid);

-- unlock --
SELECT pg_advisory_unlock(hashtext('rebuild since ' || CAST(:holder AS text)), CAST(:since AS integer)),
    CASE WHEN CAST(:until AS integer) IS NOT NULL
        THEN pg_advisory_unlock(hashtext('rebuild until'), CAST(:until AS integer)) END,
    pg_advisory_unlock(hashtext('rebuild'), 0);

-- create schema --
CREATE SCHEMA {schema} AUTHORIZATION progress_project;

-- rename schema --
ALTER SCHEMA {schema} RENAME TO {name};

-- log_end --
SELECT coalesce(max(global_position), 0), count(*) FROM event_store.events;

-- lock_all --
-- Take three locks of each shard of a schema for this transaction, and wait for their holders: the lock of folds, the
-- lock of batch runs, and the lock that batch runs and snapshots share. This order avoids deadlocks, because a deletion
-- waits for the third lock while it holds the first, and a batch run waits for the third while it holds the second.
SELECT pg_advisory_xact_lock(hashtext(kind || CAST(:schema AS text)), shard)
FROM (
    SELECT kind, shard
    FROM (VALUES (1, ''), (2, 'batch '), (3, 'reading ')) AS k (place, kind), generate_series(0, 15) AS shard
    ORDER BY place, shard
) AS locks;

-- refold_replayed --
-- Fold the events that were replayed since the build began (see event_store.clear_marks).
SELECT refold_event(m.global_position)
FROM event_store.poison_marks m
WHERE m.fingerprint = schema_fingerprint() || '_building'
ORDER BY m.global_position;

-- stop_at_log_end --
-- The second schema folds the events that are recorded now. Later events follow at its swap.
UPDATE checkpoints c
SET fold_until = coalesce((SELECT max(e.global_position) FROM event_store.events e WHERE e.shard = c.shard), 0);

-- mark_past --
-- The first build of a definition of milestones marks what was reached before it, and tells none of it.
SELECT mark_milestones(NULL) WHERE NOT EXISTS (
    SELECT FROM event_store.milestone_definitions d WHERE d.definition = {read_models/milestones name});

-- continue --
UPDATE checkpoints SET fold_until = DEFAULT;

-- record_definition --
-- If there are read models of other code, the definition replaces another one.
INSERT INTO event_store.milestone_definitions (definition, changed_at)
SELECT {read_models/milestones name}, CASE WHEN EXISTS (
    SELECT FROM pg_namespace n
    WHERE n.nspname ~ '^progress_[0-9a-f]{12}$' AND substr(n.nspname, 10) <> schema_fingerprint())
    THEN clock_timestamp() END
ON CONFLICT DO NOTHING;

-- mark_milestones --
SELECT mark_milestones(NULL);

-- drop_orphaned_marks --
SELECT event_store.drop_orphaned_marks();

-- mark_swap --
-- Mark the swap, so that cached responses computed from the former schema are no longer current.
UPDATE checkpoints SET swap_version = pg_current_xact_id()::text::bigint;

-- end_loading --
-- A schema that is rebuilt from the archive has a record of this rebuild. Delete the record, if it exists, so that
-- the rebuild's tasks start no new load.
DO $end$
BEGIN
    IF to_regclass('{schema}.archive_rebuild') IS NOT NULL THEN
        DELETE FROM {schema}.archive_rebuild;
    END IF;
END
$end$;

-- tune --
-- Tune the connection for windows of a whole shard. Only the commit of the swap
-- waits for the disk; it also flushes all earlier commits.
SELECT set_config('work_mem', '128MB', false), set_config('maintenance_work_mem', '256MB', false),
    set_config('temp_buffers', '128MB', false), set_config('synchronous_commit', 'off', false),
    set_config('default_statistics_target', '10', false);  -- the plans of the batch folds need only table sizes

-- drop_keys --
-- Drop the keys of the large tables and save their definitions, because it is faster to create the keys at the end.
DO $drop$
DECLARE
    key record;
BEGIN
    CREATE TABLE pending_keys (definition text NOT NULL);
    FOR key IN
        SELECT i.indexrelid::regclass AS index, i.indrelid::regclass AS of_table, c.conname,
            pg_get_indexdef(i.indexrelid) AS made,
            'ALTER TABLE ' || i.indrelid::regclass || ' ADD ' || pg_get_constraintdef(c.oid) AS added
        FROM pg_index i
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
        WHERE i.indrelid = ANY (ARRAY['item_stats', 'item_days', 'reviews', 'repeated_answers']::regclass[])
    LOOP
        IF key.conname IS NULL THEN
            INSERT INTO pending_keys VALUES (key.made);
            EXECUTE format('DROP INDEX %s', key.index);
        ELSE
            INSERT INTO pending_keys VALUES (key.added);
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', key.of_table, key.conname);
        END IF;
    END LOOP;
END
$drop$;

-- next_key --
-- Take the definition of one dropped key; parallel workers take different definitions.
DELETE FROM pending_keys
WHERE ctid = (SELECT ctid FROM pending_keys LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING definition;

-- analyze --
-- Called when all keys exist. The batch folds join whole tables, so their plans need the tables' sizes.
DROP TABLE pending_keys;
ANALYZE item_stats, item_days, daily_stats, items, item_difficulty, group_items, group_members, listed_items,
    own_listed_items;

-- unused_schemas --
-- All schemas of read models except the kept one, and except those that are being read. No rebuild is running, because
-- the caller holds the lock of rebuilds. A schema whose name ends in _building was therefore left by a killed rebuild.
SELECT n.nspname
FROM pg_namespace n
WHERE n.nspname ~ '^progress_[0-9a-f]{12}(_building|_retired)?$' AND n.nspname <> :kept
  AND NOT EXISTS (
    SELECT FROM event_store.read_models m
    WHERE m.schema = n.nspname AND m.read_until > clock_timestamp() - interval '1 hour')
ORDER BY n.nspname;

-- former_schemas --
-- The live schemas that nobody has read for some days, except the kept one and the one that was read last: it may be
-- the one that is served, where nobody has asked anything for days.
SELECT m.schema
FROM event_store.read_models m
WHERE m.schema <> :kept
  AND greatest(m.built_at, m.read_until) < clock_timestamp() - make_interval(days => CAST(:days AS integer))
  AND m.read_until IS DISTINCT FROM (SELECT max(r.read_until) FROM event_store.read_models r)
ORDER BY m.schema;
