-- The state of a backlog.

-- sample --
-- The number of shards that a worker is folding, and whether any event is not folded.
SELECT (SELECT count(*)
        FROM pg_locks l
        JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted AND d.datname = current_database()),
    EXISTS (SELECT FROM shards_behind);

-- shards --
SELECT shard FROM event_store.events ORDER BY global_position;
