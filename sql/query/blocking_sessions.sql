-- Which sessions of the database let others wait, how far the shards are, and whether a release runs, for
-- administrators.

-- sessions --
-- The sessions that let another session wait for more than 2 s, that keep a table of ours locked, or that hold a shard
-- for more than a minute or while they wait; those that wait for nobody come first. The statement reads no table, so
-- that no lock on a table lets it wait.
WITH RECURSIVE locks AS ({adapters/table_locks locks}
), held AS (
    SELECT h.pid, array_agg(CAST(h.shard AS integer) ORDER BY h.shard) AS shards
    FROM ({recovery/shard_locks held}) h
    GROUP BY h.pid
), known AS MATERIALIZED (
    SELECT s.*, pg_blocking_pids(s.pid) AS waits_for FROM event_store.list_sessions() s
), found AS (
    SELECT b.pid
    FROM pg_locks w
    CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (pid)
    WHERE NOT w.granted AND w.waitstart < clock_timestamp() - interval '2 s'
    UNION
    SELECT k.pid
    FROM known k
    JOIN locks l ON l.pid = k.pid
    CROSS JOIN LATERAL unnest(string_to_array(l.locked, ', ')) AS t (name)
    WHERE coalesce(k.xact_start < clock_timestamp() - interval '2 s', true)
      AND split_part(t.name, '.', 1) IN (current_schema(), 'event_store', 'operations')
    UNION
    SELECT k.pid
    FROM known k
    JOIN held h ON h.pid = k.pid
    WHERE k.xact_start < clock_timestamp() - interval '60 s'
       OR k.waits_for <> '{}' AND k.xact_start < clock_timestamp() - interval '2 s'
), chain (pid) AS (
    SELECT pid FROM found
    UNION
    SELECT b.pid FROM chain c JOIN known k ON k.pid = c.pid CROSS JOIN LATERAL unnest(k.waits_for) AS b (pid)
)
SELECT k.pid AS session, CAST(k.login AS text) AS login, k.application, k.state, k.xact_start AS since,
    coalesce(string_to_array(l.locked, ', '), '{}') AS locked, coalesce(h.shards, '{}') AS shards, k.waits_for,
    ARRAY(SELECT w.pid FROM known w WHERE k.pid = ANY (w.waits_for) ORDER BY w.pid) AS blocks
FROM chain c
JOIN known k ON k.pid = c.pid
LEFT JOIN locks l ON l.pid = c.pid
LEFT JOIN held h ON h.pid = c.pid
ORDER BY cardinality(k.waits_for), k.xact_start, k.pid;

-- shards --
SELECT CAST(c.shard AS integer) AS shard, count_waiting(c.shard) AS events_behind, b.next_recorded_at AS waiting_since,
    l.pid AS session
FROM checkpoints c
LEFT JOIN shards_behind b ON b.shard = c.shard
LEFT JOIN ({recovery/shard_locks held}) l ON l.shard = c.shard
ORDER BY c.shard;

-- release --
-- Whether the lock of migrations is held, and which other versions have read models, or are building them.
SELECT
    EXISTS (
        SELECT
        FROM pg_locks l
        CROSS JOIN (SELECT hashtextextended('progress.migrations', 0) AS key) k
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND l.classid = CAST((k.key >> 32) & 4294967295 AS oid) AND l.objid = CAST(k.key & 4294967295 AS oid)
    ) AS migrating,
    ARRAY(
        SELECT CAST(n.nspname AS text)
        FROM pg_namespace n
        WHERE n.nspname ~ '^progress_[0-9a-f]{12}(_building)?$' AND n.nspname !~ ('^' || current_schema())
        ORDER BY n.nspname
    ) AS other_versions;
