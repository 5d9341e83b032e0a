-- A rebuild: the read models folded anew in a schema of their own, then put in the place of the live one.

-- lock --
-- One rebuild at a time; held by the connection.
SELECT pg_try_advisory_lock(hashtext('rebuild'), 0);

-- unlock --
SELECT pg_advisory_unlock(hashtext('rebuild'), 0);

-- log_end --
SELECT coalesce(max(global_position), 0), count(*) FROM event_store.events;

-- lock_all --
-- Every shard of a schema, the batch job and its snapshots, for this transaction: who is at it now must end first. A
-- deletion waits for the others with its shard in hand: so the shards come first.
SELECT pg_advisory_xact_lock(hashtext(kind || CAST(:schema AS text)), shard)
FROM (
    SELECT kind, shard FROM (VALUES (1, ''), (2, 'batch '), (3, 'reading ')) AS k (place, kind), generate_series(0, 15) AS shard
    ORDER BY place, shard
) AS locks;

-- lock_backup --
SELECT pg_advisory_lock(hashtext('backup ' || CAST(:schema AS text)), 0);

-- unlock_backup --
SELECT pg_advisory_unlock(hashtext('backup ' || CAST(:schema AS text)), 0);

-- replayed_events --
-- Events that were set aside and count again, each with the moment at which that was decided.
SELECT CAST(substr(message_id, 10) AS bigint) AS position, replayed_at   -- after 'position-'
FROM event_store.dead_letters
WHERE kind = 'poisoned' AND replayed_at IS NOT NULL
ORDER BY position;

-- mark_swap --
-- Whatever was computed from the schema before this one counts no more.
UPDATE checkpoints SET swap_version = pg_current_xact_id()::text::bigint RETURNING swap_version;

-- tune --
-- A shard's whole past is one window. Only the swap has to be on disk when it is done, and all before it then is.
SELECT set_config('work_mem', '128MB', false), set_config('maintenance_work_mem', '256MB', false),
    set_config('temp_buffers', '128MB', false), set_config('synchronous_commit', 'off', false),
    set_config('default_statistics_target', '10', false);  -- sizes are all that the batch's plans need

-- drop_keys --
-- The large tables without their keys: these are made at the end, at once. Their definitions are kept.
DO $drop$
DECLARE
    key record;
BEGIN
    CREATE TABLE pending_keys (definition text NOT NULL);
    FOR key IN
        SELECT i.indexrelid::regclass AS index, i.indrelid::regclass AS of_table, c.conname, pg_get_indexdef(i.indexrelid) AS made,
            'ALTER TABLE ' || i.indrelid::regclass || ' ADD ' || pg_get_constraintdef(c.oid) AS added
        FROM pg_index i
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid
        WHERE i.indrelid IN ('item_stats'::regclass, 'item_days'::regclass, 'reviews'::regclass)
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
-- The definition of a key that is still to come; another worker gets another.
DELETE FROM pending_keys
WHERE ctid = (SELECT ctid FROM pending_keys LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING definition;

-- analyze --
-- The keys are made. The batch folds join whole tables: their plans need to know how large these are.
DROP TABLE pending_keys;
ANALYZE item_stats, item_days, daily_stats, items;
