-- The rows of `progress analyse cohorts`. A cohort is the learners whose first study day is in the same week. `cohort`
-- is the Monday of that week. `active` is the number of the cohort's learners with a study day in the row's week; it is
-- null if the number of active or of inactive learners is too small to be shown. A study day is a day with a completed
-- session. A session counts as completed only once. The newest week is left out, because it may be incomplete.
WITH completions AS (
    SELECT user_id, DATE_TRUNC(day, ISOWEEK) AS week
    FROM ${learner_events}
    WHERE event_type = 'SessionCompleted'
    QUALIFY ROW_NUMBER() OVER (PARTITION BY user_id, session_id ORDER BY occurred_at, event_id) = 1
),

firsts AS (
    SELECT user_id, MIN(week) AS cohort
    FROM completions
    GROUP BY user_id
),

sizes AS (
    SELECT cohort, COUNT(*) AS learners
    FROM firsts
    GROUP BY cohort
    HAVING COUNT(*) >= ${fewest_learners}
),

active AS (
    SELECT f.cohort, c.week, COUNT(DISTINCT c.user_id) AS active
    FROM completions AS c
    JOIN firsts AS f ON f.user_id = c.user_id
    GROUP BY f.cohort, c.week
),

shown AS (
    SELECT
        s.cohort,
        DIV(DATE_DIFF(monday, s.cohort, DAY), 7) AS week,
        s.learners,
        IF(
            a.active >= ${fewest_learners} AND s.learners - a.active NOT BETWEEN 1 AND ${fewest_learners} - 1,
            a.active,
            NULL
        ) AS active
    FROM sizes AS s
    CROSS JOIN UNNEST(GENERATE_DATE_ARRAY(
        s.cohort, (SELECT DATE_SUB(MAX(week), INTERVAL 7 DAY) FROM completions), INTERVAL 7 DAY
    )) AS monday
    LEFT JOIN active AS a ON a.cohort = s.cohort AND a.week = monday
)

SELECT cohort, week, learners, active, active / learners AS active_rate
FROM shown
