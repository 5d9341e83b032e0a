-- A backup of the read models: the live schema's tables as they stand in one snapshot.

-- lock --
-- No other backup of this schema, and no swap of it meanwhile: a rebuild waits with its swap.
SELECT pg_try_advisory_lock(hashtext('backup ' || CAST(:schema AS text)), 0);

-- begin --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- tables --
-- By size, the largest first; how each is read and put back, and about how many rows it has. Where a table is
-- emptied and filled by one transaction, its rows can be frozen at once.
SELECT c.relname AS name,
    CAST(greatest(c.reltuples, 0) AS bigint) AS rows,
    format('COPY %I.%I (%s) TO STDOUT', n.nspname, c.relname, a.columns) AS copy_out
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS columns
    FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) a
WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname <> 'keys_to_come'  -- a rebuild's own
ORDER BY pg_table_size(c.oid) DESC, c.relname;

-- log --
-- What the rows were made from.
SELECT coalesce(max(global_position), 0) AS head,
    (SELECT coalesce(max(version), 0) FROM user_progress) AS version
FROM event_store.events;

-- checkpoints --
-- Of each shard the last event that is folded: by its id, since a position says nothing of another log.
SELECT c.shard, c.position, CAST(e.event_id AS text) AS event_id
FROM checkpoints c
LEFT JOIN event_store.events e ON e.global_position = c.position AND e.shard = c.shard
ORDER BY c.shard;

-- set aside --
-- The events among those that no fold counts.
SELECT p.global_position
FROM event_store.poisoned p
JOIN event_store.events e ON e.global_position = p.global_position
JOIN unnest(CAST(:shards AS smallint[]), CAST(:positions AS bigint[])) AS c (shard, position) ON c.shard = e.shard
WHERE p.global_position <= c.position
ORDER BY p.global_position;

-- missing --
-- The shards whose last event is not in the log.
SELECT c.shard
FROM unnest(CAST(:shards AS smallint[]), CAST(:positions AS bigint[]), CAST(:event_ids AS text[])) AS c (shard, position, event_id)
WHERE c.position > 0 AND NOT EXISTS (
    SELECT FROM event_store.events e
    WHERE e.global_position = c.position AND e.shard = c.shard AND e.event_id = CAST(c.event_id AS uuid))
ORDER BY c.shard;

-- put back --
SELECT format('TRUNCATE %1$I.%2$I', nspname, relname) AS emptied,
    format('COPY %1$I.%2$I (%3$s) FROM STDIN WITH (FREEZE)', nspname, relname, (
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped)) AS copy_in
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname = :name;

-- renumber --
-- Versions only grow: those of another server, which may have come further, begin again here.
DO $$
DECLARE
    now_at bigint := pg_current_xact_id()::text::bigint;
BEGIN
    UPDATE user_progress     SET version = now_at;
    UPDATE deleted_learners  SET version = now_at;
    UPDATE checkpoints       SET catalogue_version = now_at;
    UPDATE batch_checkpoints SET version = now_at;
END $$;

-- version now --
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint);

-- look again --
-- Snapshots of the read models before these are gone: everyone is due for a new one.
INSERT INTO snapshot_learners SELECT user_id FROM user_progress ON CONFLICT DO NOTHING;
