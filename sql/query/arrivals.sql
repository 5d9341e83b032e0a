-- What arrived in the last 24 hours, for administrators.

-- hours --
-- The current hour and the 23 before it (UTC): how many events were recorded and how many dead letters were received.
-- Positions have no gaps, and the times of recording never fall along them. So the number of events is a difference of
-- positions, and each position is found by a binary search: `low` was recorded before the time `at`, `high` was not.
WITH RECURSIVE bounds AS (
    SELECT date_trunc('hour', CAST(:now AS timestamptz), 'UTC') - make_interval(hours => n) AS at
    FROM generate_series(-1, 23) AS n
), search AS (
    SELECT b.at, CAST(0 AS bigint) AS low, n.newest + 1 AS high
    FROM bounds b
    CROSS JOIN (SELECT coalesce(max(e.global_position), 0) AS newest FROM event_store.events e) AS n
    UNION ALL
    SELECT s.at, CASE WHEN e.created_at < s.at THEN e.global_position ELSE s.low END,
        CASE WHEN e.created_at < s.at THEN s.high ELSE e.global_position END
    FROM search s
    CROSS JOIN LATERAL (
        SELECT m.global_position, m.created_at FROM event_store.events m
        WHERE m.global_position = s.low + (s.high - s.low) / 2
        OFFSET 0
    ) e
    WHERE s.high - s.low > 1
), found AS (
    SELECT s.at, max(s.low) AS low FROM search s GROUP BY s.at
), oldest AS (
    SELECT min(b.at) AS at FROM bounds b
), letters AS (     -- one part for each index: open, replayed and discarded dead letters
    SELECT l.received_at
    FROM oldest o
    JOIN event_store.dead_letters l ON (l.replayed_at IS NOT NULL) = false AND l.received_at >= o.at
    WHERE l.discarded_at IS NULL
    UNION ALL
    SELECT l.received_at
    FROM oldest o
    JOIN event_store.dead_letters l ON (l.replayed_at IS NOT NULL) = true AND l.received_at >= o.at
    WHERE l.discarded_at IS NULL
    UNION ALL
    SELECT l.received_at
    FROM oldest o
    JOIN event_store.dead_letters l ON coalesce(l.replayed_at, l.discarded_at) >= o.at    -- not before its receipt
    WHERE l.discarded_at IS NOT NULL AND l.received_at >= o.at
), received AS (
    SELECT date_trunc('hour', l.received_at, 'UTC') AS at, count(*) AS dead_letters FROM letters l GROUP BY 1
)
SELECT f.at AS start, lead(f.low) OVER (ORDER BY f.at) - f.low AS events, coalesce(r.dead_letters, 0) AS dead_letters
FROM found f
LEFT JOIN received r USING (at)
ORDER BY f.at
LIMIT 24;
