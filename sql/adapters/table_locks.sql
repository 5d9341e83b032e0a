-- Locks on whole tables, for which a statement that reads them must wait. These blocks read none of our tables.

-- limit waits --
SET lock_timeout = '5s';

-- locks --
-- For each session, the tables that it has locked, and those that it wants to lock, in ACCESS EXCLUSIVE mode.
SELECT l.pid, string_agg(DISTINCT t.name, ', ') FILTER (WHERE l.granted) AS locked,
    string_agg(DISTINCT t.name, ', ') FILTER (WHERE NOT l.granted) AS wanted
FROM pg_locks l
JOIN (
    SELECT c.oid, n.nspname || '.' || c.relname AS name
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
) t ON t.oid = l.relation
WHERE l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
GROUP BY l.pid

-- blocking sessions --
-- The sessions that let readers of a table wait, or that let these sessions wait: what each has locked, for what it
-- waits, and which sessions it blocks. Only ACCESS EXCLUSIVE blocks readers, from the moment in which it is requested.
WITH RECURSIVE locks AS ({adapters/table_locks locks}
), chain (pid) AS (
    SELECT pid FROM locks
    UNION
    SELECT b.pid FROM chain c, unnest(pg_blocking_pids(c.pid)) AS b (pid)
)
SELECT a.pid, a.usename AS login, a.application_name AS application, coalesce(a.state, 'hidden') AS state,
    CAST(extract(epoch FROM clock_timestamp() - a.xact_start) AS bigint) AS seconds, l.locked, l.wanted,
    pg_blocking_pids(a.pid) AS waits_for,
    ARRAY(SELECT w.pid FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid)) ORDER BY w.pid) AS blocks
FROM chain
JOIN pg_stat_activity a ON a.pid = chain.pid
LEFT JOIN locks l ON l.pid = chain.pid
ORDER BY cardinality(pg_blocking_pids(a.pid)), a.pid;
