-- Learners by the week of their first study day (a day with an answer or a completed session), and how many of them
-- study in each later week.

-- create --
CREATE TABLE cells (first_day DATE, week DATE, learners BIGINT);

-- add --
-- Insert the numbers of one group of buckets: for each first study day and each week, how many learners began on that
-- day and studied in that week. All events of a learner are in one bucket. No learner is counted in two
-- buckets, so the counts can be added up.
INSERT INTO cells
WITH studied AS (
    SELECT user_id, CAST(date_trunc('week', day) AS DATE) AS week, min(day) AS day
    FROM (
        SELECT user_id, day FROM completions
        UNION ALL
        SELECT user_id, day FROM dated_facts WHERE kind = 'answer'
    )
    GROUP BY ALL
), begun AS (
    SELECT user_id, week, min(day) OVER (PARTITION BY user_id) AS first_day
    FROM studied
)
SELECT first_day, week, count(*)
FROM begun
GROUP BY ALL;

-- rows --
-- Only whole weeks: the newest week with a study day is left out, because it may not have ended. `active` is null if
-- the number of active or of inactive learners is too small to be shown.
WITH counted AS (
    SELECT CAST(date_trunc('week', first_day) AS DATE) AS cohort, week, sum(learners) AS learners
    FROM cells
    WHERE first_day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
    GROUP BY ALL
), cohorts AS (
    SELECT cohort, learners, unnest(generate_series(cohort, (SELECT max(week) - 7 FROM cells), INTERVAL 7 DAY)) AS week
    FROM counted
    WHERE week = cohort AND learners >= $fewest
), shown AS (
    SELECT c.cohort, CAST(c.week AS DATE) AS week, c.learners,
        CASE WHEN a.learners >= $fewest AND c.learners - a.learners NOT BETWEEN 1 AND $fewest - 1
            THEN a.learners END AS active
    FROM cohorts c
    LEFT JOIN counted a ON a.cohort = c.cohort AND a.week = c.week
)
SELECT CAST(cohort AS VARCHAR) AS cohort, (week - cohort) // 7 AS week, CAST(learners AS BIGINT) AS learners,
    CAST(active AS BIGINT) AS active, active / learners AS active_rate
FROM shown
ORDER BY cohort, week;
