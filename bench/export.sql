-- Rows for the benchmark `statistics`.

-- fill days --
-- 1,000,000 rows of 2,740 learners.
INSERT INTO daily_stats
SELECT 'learner-' || n / 365, date '2025-01-01' + n % 365, 40, 30, 100000, 100000, 5, 2, 1800, 160, 3, 12, 1
FROM generate_series(0, 999999) AS n;

-- copy days --
COPY (SELECT * FROM daily_stats ORDER BY user_id, day) TO STDOUT (FORMAT csv, HEADER);
