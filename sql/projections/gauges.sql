-- The gauges that the batch job measures before it folds the shards that are behind.

-- measure --
-- The number of events that are not folded (counted up to 100,000 per shard), the age of the oldest of them in ms,
-- the number of open dead letters, the share of their bytes in the most that one sender or all may have, the share
-- of the server's connections that are in use, the size of the database in bytes, the numbers of failed and of
-- overdue operations, which need an operator, the number of running operations, the age in ms of the oldest event or
-- milestone that is not published, and that of the oldest event that waits for its session.
WITH behind AS (
    SELECT s.next_recorded_at, count_waiting(s.shard) AS events
    FROM find_waiting() s
)
SELECT
    CAST(coalesce(sum(events), 0) AS bigint) AS projection_lag,
    CAST(greatest(coalesce(extract(epoch FROM CAST(:now AS timestamptz) - min(next_recorded_at)) * 1000, 0), 0)
        AS double precision) AS projection_lag_ms,
    (SELECT count(*) FROM event_store.dead_letters
     WHERE replayed_at IS NULL AND discarded_at IS NULL) AS dead_letters,
    CAST(coalesce((
        SELECT greatest(max(l.bytes) / m.of_one, sum(l.bytes) / m.of_all)
        FROM event_store.most_letter_bytes() m
        CROSS JOIN (SELECT sum(b.bytes) AS bytes FROM event_store.letter_bytes b GROUP BY b.poster) l
        GROUP BY m.of_one, m.of_all), 0) AS double precision) AS letter_share,
    (SELECT CAST(sum(numbackends) AS double precision) FROM pg_stat_database)
        / CAST(current_setting('max_connections') AS double precision) AS database_connections,
    pg_database_size(current_database()) AS database_bytes,
    min(o.failed) AS failed_operations,
    min(o.overdue) AS overdue_operations,
    min(o.running) AS running_operations,
    CAST(greatest(coalesce(extract(epoch FROM CAST(:now AS timestamptz) - min(u.oldest_at)) * 1000, 0), 0)
        AS double precision) AS publication_lag_ms,
    CAST(coalesce(extract(epoch FROM CAST(:now AS timestamptz) - (SELECT min(received_at) FROM event_store.pending))
        * 1000, 0) AS double precision) AS pending_ms
FROM operations.count_problems() o
CROSS JOIN event_store.count_unpublished() u
LEFT JOIN behind ON true;

-- ping --
SELECT 1;
