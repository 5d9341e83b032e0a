-- Backup and restore of the read models. A backup reads the live schema's tables in one REPEATABLE READ transaction.

-- lock --
-- Prevent other backups and a swap of this schema. A rebuild takes this lock before its swap.
SELECT pg_try_advisory_lock(hashtext('backup ' || CAST(:schema AS text)), 0);

-- begin --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- tables --
-- The tables, largest first, each with its estimated number of rows and the statement that reads it.
SELECT c.relname AS name,
    CAST(greatest(c.reltuples, 0) AS bigint) AS rows,
    format('COPY %I.%I (%s) TO STDOUT', n.nspname, c.relname, a.columns) AS copy_out
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) a
WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname <> 'pending_keys'  -- belongs to a rebuild
ORDER BY pg_table_size(c.oid) DESC, c.relname;

-- log --
-- The log's last position at the time of the backup, and the highest version in user_progress.
SELECT coalesce(max(global_position), 0) AS head,
    (SELECT coalesce(max(version), 0) FROM user_progress) AS version
FROM event_store.events;

-- checkpoints --
-- The position and the id of each shard's last folded event. The position alone does not identify the event, because
-- another log may have another event at this position.
SELECT c.shard, c.position, CAST(e.event_id AS text) AS event_id
FROM checkpoints c
LEFT JOIN event_store.events e ON e.global_position = c.position AND e.shard = c.shard
ORDER BY c.shard;

-- quarantined --
-- The positions of the poisoned events up to each shard's checkpoint.
SELECT p.global_position
FROM poisoned_events p
JOIN event_store.events e ON e.global_position = p.global_position
JOIN unnest(CAST(:shards AS smallint[]), CAST(:positions AS bigint[])) AS c (shard, position) ON c.shard = e.shard
WHERE p.global_position <= c.position
ORDER BY p.global_position;

-- not erased --
-- The given positions whose events have not been erased.
SELECT e.global_position
FROM event_store.events e
WHERE e.global_position = ANY (CAST(:positions AS bigint[])) AND e.event_type <> 'Erased'
ORDER BY e.global_position;

-- missing --
-- The shards whose last folded event is not in the log.
SELECT c.shard
FROM unnest(CAST(:shards AS smallint[]), CAST(:positions AS bigint[]), CAST(:event_ids AS text[]))
    AS c (shard, position, event_id)
WHERE c.position > 0 AND NOT EXISTS (
    SELECT FROM event_store.events e
    WHERE e.global_position = c.position AND e.shard = c.shard
      AND (e.event_id = CAST(c.event_id AS uuid) OR e.event_type = 'Erased'))  -- an erasure changes the id
ORDER BY c.shard;

-- load --
-- The statements that empty a table and load it. They must run in one transaction, so that COPY can freeze the rows.
SELECT format('TRUNCATE %1$I.%2$I', nspname, relname) AS truncate,
    format('COPY %1$I.%2$I (%3$s) FROM STDIN WITH (FREEZE)', nspname, relname, (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)) AS copy_in
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname = :name;

-- renumber --
-- A version is the id of the transaction that last changed the rows, and must grow with each change. Versions that come
-- from another server may be higher than the ids of later transactions on this server. Therefore, set all versions to
-- the current transaction id.
DO $$
DECLARE
    current_version bigint := pg_current_xact_id()::text::bigint;
BEGIN
    UPDATE user_progress     SET version = current_version;
    UPDATE deleted_learners  SET version = current_version;
    UPDATE checkpoints       SET catalogue_version = current_version;
    UPDATE batch_checkpoints SET version = current_version;
END $$;

-- current version --
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint);

-- request snapshots --
-- The snapshots of the former read models are not used any more, so every learner needs a new snapshot.
INSERT INTO snapshot_learners SELECT user_id FROM user_progress ON CONFLICT DO NOTHING;
