-- The sessions that hold the advisory locks of shards. A fold holds the lock of its shard.

-- held --
SELECT l.pid, CAST(l.objid AS bigint) AS shard
FROM pg_locks l
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
  AND l.classid = CAST(CAST(hashtext(current_schema()) AS bigint) & 4294967295 AS oid)

-- holder --
-- The session that holds the shard. A lock on a table does not let this statement wait.
SELECT pid FROM ({recovery/shard_locks held}) l WHERE shard = :shard;

-- list --
SELECT c.shard, c.position,
    (SELECT count(*) FROM event_store.events e
     WHERE (e.shard, e.global_position) > (c.shard, c.position)
       AND (e.shard, e.global_position) < (c.shard + 1, 0)) AS events_behind,
    a.pid, a.usename AS login, a.application_name AS application, a.state,
    coalesce(CAST(extract(epoch FROM clock_timestamp() - a.xact_start) AS double precision), 0) AS seconds,
    coalesce(pg_blocking_pids(a.pid), '{}') AS waits_for
FROM checkpoints c
LEFT JOIN ({recovery/shard_locks held}) l ON l.shard = c.shard
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
ORDER BY c.shard;

-- blocking sessions --
-- The sessions that block the given session, directly or indirectly, and wait for no session themselves. If the given
-- session does not wait, return the given session itself.
WITH RECURSIVE chain (pid) AS (
    SELECT CAST(:pid AS integer)
    UNION
    SELECT b.pid FROM chain c, unnest(pg_blocking_pids(c.pid)) AS b (pid)
)
SELECT a.pid, a.usename, a.application_name
FROM chain c
JOIN pg_stat_activity a ON a.pid = c.pid
WHERE cardinality(pg_blocking_pids(c.pid)) = 0
ORDER BY a.pid;

-- refuse sessions --
ALTER DATABASE {name} ALLOW_CONNECTIONS false;

-- sessions of a database --
SELECT pid FROM pg_stat_activity WHERE datname = :name AND usename IS NOT NULL; -- no autovacuum

-- end session --
-- End the session. The result is true if the session has ended within the given time, or before this statement.
SELECT pg_terminate_backend(CAST(:pid AS integer), CAST(:milliseconds AS bigint))
    OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = :pid);
