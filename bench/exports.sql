-- Rows for the row `statistics`.

-- fill days --
-- The number :rows of days, 365 of each learner.
INSERT INTO daily_stats
SELECT 'learner-' || n / 365, date '2025-01-01' + n % 365, 40, 30, 100000, 100000, 5, 2, 1800, 160, 3, 12, 1
FROM generate_series(0, CAST(:rows AS int) - 1) AS n;

-- copy days --
COPY (SELECT * FROM daily_stats ORDER BY user_id, day) TO STDOUT (FORMAT csv, HEADER);
