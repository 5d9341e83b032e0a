-- Learners by the week of their first study day (a day with a completed session), and how many of them study in each
-- later week.

-- create --
CREATE TABLE cells (first_day DATE, week DATE, learners BIGINT);

-- add --
-- Add the numbers of a group of buckets: learners by first study day and by week with a study day. All events of a
-- learner are in one bucket, so the numbers of learners in different buckets can be added up.
INSERT INTO cells
WITH studied AS (
    SELECT user_id, CAST(date_trunc('week', day) AS DATE) AS week, min(day) AS day
    FROM completions
    GROUP BY ALL
), begun AS (
    SELECT user_id, week, min(day) OVER (PARTITION BY user_id) AS first_day
    FROM studied
)
SELECT first_day, week, count(*)
FROM begun
GROUP BY ALL;

-- rows --
-- Only whole weeks: the newest week with a study day is left out, because it may not have ended.
WITH counted AS (
    SELECT CAST(date_trunc('week', first_day) AS DATE) AS cohort, week, sum(learners) AS learners
    FROM cells
    WHERE first_day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
    GROUP BY ALL
), cohorts AS (
    SELECT cohort, learners, unnest(generate_series(cohort, (SELECT max(week) - 7 FROM cells), INTERVAL 7 DAY)) AS week
    FROM counted
    WHERE week = cohort AND learners >= $fewest
)
SELECT CAST(c.cohort AS VARCHAR) AS cohort, (CAST(c.week AS DATE) - c.cohort) // 7 AS week,
    CAST(c.learners AS BIGINT) AS learners, CAST(coalesce(a.learners, 0) AS BIGINT) AS active,
    coalesce(a.learners, 0) / c.learners AS active_rate
FROM cohorts c
LEFT JOIN counted a ON a.cohort = c.cohort AND a.week = c.week
ORDER BY c.cohort, c.week;
