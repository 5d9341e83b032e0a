-- One row per learner and ISO week with a row in daily_stats. The batch job folds this table every five minutes.

-- table --
CREATE TABLE weekly_stats (
    user_id            text COLLATE "C" NOT NULL,
    monday             date   NOT NULL,    -- Monday of the local week
    active_days        bigint NOT NULL,
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    response_ms        bigint NOT NULL,
    timed_answers      bigint NOT NULL,
    reviews            bigint NOT NULL,
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    scores             bigint NOT NULL,
    scored_sessions    bigint NOT NULL,
    items_learned      bigint NOT NULL,
    items_reviewed     bigint NOT NULL,
    new_mastery_count  bigint NOT NULL,
    PRIMARY KEY (user_id, monday)
);

-- fold --
DELETE FROM weekly_stats w
USING batch_learners b
WHERE w.user_id = b.user_id
  AND NOT EXISTS (SELECT FROM daily_stats d WHERE d.user_id = w.user_id AND d.day BETWEEN w.monday AND w.monday + 6);

WITH weeks AS MATERIALIZED (
    {read_models/weekly_stats weeks}
), reviewed AS MATERIALIZED (
    {read_models/weekly_stats reviewed}
)
INSERT INTO weekly_stats AS s
SELECT w.user_id, w.monday, w.active_days, w.answers, w.correct_answers, w.response_ms, w.timed_answers, w.reviews,
    w.sessions_completed, w.study_seconds, w.scores, w.scored_sessions, w.items_learned,
    coalesce(r.items_reviewed, 0), w.new_mastery_count
FROM weeks w
LEFT JOIN reviewed r ON r.user_id = w.user_id AND r.monday = w.monday
ORDER BY w.user_id, w.monday
ON CONFLICT (user_id, monday) DO UPDATE SET
    active_days        = excluded.active_days,
    answers            = excluded.answers,
    correct_answers    = excluded.correct_answers,
    response_ms        = excluded.response_ms,
    timed_answers      = excluded.timed_answers,
    reviews            = excluded.reviews,
    sessions_completed = excluded.sessions_completed,
    study_seconds      = excluded.study_seconds,
    scores             = excluded.scores,
    scored_sessions    = excluded.scored_sessions,
    items_learned      = excluded.items_learned,
    items_reviewed     = excluded.items_reviewed,
    new_mastery_count  = excluded.new_mastery_count
WHERE s IS DISTINCT FROM excluded;

-- definition --
-- 1990-01-01 was a Monday.
WITH weeks AS (
    SELECT user_id, day - CAST((day - DATE '1990-01-01') % 7 AS integer) AS monday,
        count(*) FILTER (WHERE {read_models/daily_stats is_study_day}) AS active_days,
        {read_models/daily_stats sums}
    FROM daily_stats d
    GROUP BY 1, 2
), reviewed AS (
    SELECT user_id, monday, count(*) AS items_reviewed
    FROM (
        SELECT DISTINCT d.user_id, d.item_id, d.day - CAST((d.day - DATE '1990-01-01') % 7 AS integer) AS monday
        FROM item_days d
        JOIN item_stats s ON s.user_id = d.user_id AND s.item_id = d.item_id
        WHERE d.day > s.first_answered_on
    ) again
    GROUP BY user_id, monday
)
SELECT w.user_id, w.monday, w.active_days, w.answers, w.correct_answers, w.response_ms, w.timed_answers, w.reviews,
    w.sessions_completed, w.study_seconds, w.scores, w.scored_sessions, w.items_learned,
    coalesce(r.items_reviewed, 0) AS items_reviewed, w.new_mastery_count
FROM weeks w
LEFT JOIN reviewed r ON r.user_id = w.user_id AND r.monday = w.monday

-- weeks --
SELECT d.user_id, d.day - (d.day - date '1990-01-01') % 7 AS monday,
        count(*) FILTER (WHERE {read_models/daily_stats is_study_day}) AS active_days,
        {read_models/daily_stats sums}
    FROM batch_learners b
    JOIN daily_stats d ON d.user_id = b.user_id
    GROUP BY d.user_id, monday

-- reviewed --
SELECT user_id, monday, count(*) AS items_reviewed
    FROM (
        SELECT DISTINCT d.user_id, d.item_id, d.day - (d.day - date '1990-01-01') % 7 AS monday
        FROM batch_learners b
        JOIN item_days d ON d.user_id = b.user_id
        JOIN item_stats s ON s.user_id = d.user_id AND s.item_id = d.item_id
        WHERE d.day > s.first_answered_on
    ) again
    GROUP BY user_id, monday

-- range --
-- The weeks whose Monday lies in the range, even if they end after it. With zero_fill, every week has a row if the
-- learner has events.
SELECT
    asked.day                                          AS start,
    asked.day + 6                                      AS "end",
    coalesce(s.active_days, 0)                         AS active_days,
    {read_models/daily_stats stat_fields},
    coalesce(l.items, 0)                               AS slipped_back
FROM (
    SELECT CAST(:first_day AS date) + n AS day
    FROM generate_series(0, CAST(:last_day AS date) - CAST(:first_day AS date)) AS n
    WHERE (CAST(:first_day AS date) + n - DATE '2001-01-01') % 7 = 0   -- 2001-01-01 was a Monday
) AS asked
LEFT JOIN weekly_stats s ON s.user_id = :user_id AND s.monday = asked.day
LEFT JOIN (
    SELECT f.day - CAST((f.day - DATE '1990-01-01') % 7 AS integer) AS monday, count(DISTINCT f.item_id) AS items
    FROM ({read_models/reviews slipped back}) f
    GROUP BY 1
) l ON l.monday = asked.day
WHERE s.monday IS NOT NULL
   OR (CAST(:zero_fill AS boolean) AND EXISTS (SELECT FROM user_progress p WHERE p.user_id = :user_id))
ORDER BY asked.day;

-- export weekly --
-- One row for each week, from Monday to Sunday. | 月曜日から日曜日までの、週ごとに1行です。
COPY (
    -- from the days, because the batch job updates the table of weeks only later
    WITH batch_learners AS (
        SELECT current_setting('export.learner') AS user_id
    ), weeks AS (
        {read_models/weekly_stats weeks}
    ), reviewed AS (
        {read_models/weekly_stats reviewed}
    ), whole AS (
        SELECT w.*, coalesce(r.items_reviewed, 0) AS items_reviewed
        FROM weeks w
        LEFT JOIN reviewed r USING (user_id, monday)
    )
    SELECT s.monday AS start, s.monday + 6 AS "end", s.active_days,
        {read_models/daily_stats stat_fields}
    FROM whole s
    ORDER BY s.monday
) TO STDOUT (FORMAT csv, HEADER);

-- twelve_weeks --
-- The Mondays of the current ISO week (UTC) and of the 11 weeks before it.
(
    SELECT CAST(date_trunc('week', CAST(:now AS timestamptz) AT TIME ZONE 'UTC') AS date) - 7 * n AS monday
    FROM generate_series(0, 11) AS n
) AS weeks

-- weeks of group --
-- The twelve weeks of the members together, oldest first. OFFSET 0 makes the planner look up each member's weeks.
SELECT weeks.monday AS start, coalesce(w.active_members, 0) AS active_members, coalesce(w.answers, 0) AS answers,
    CAST(w.correct_answers AS double precision) / nullif(w.answers, 0) AS accuracy_rate
FROM {read_models/weekly_stats twelve_weeks}
LEFT JOIN (
    SELECT s.monday, count(*) FILTER (WHERE s.active_days > 0) AS active_members,
        CAST(sum(s.answers) AS bigint) AS answers, CAST(sum(s.correct_answers) AS bigint) AS correct_answers
    FROM group_members m
    CROSS JOIN LATERAL (
        SELECT * FROM weekly_stats s
        WHERE s.user_id = m.user_id
          AND s.monday >= (SELECT min(weeks.monday) FROM {read_models/weekly_stats twelve_weeks})
        OFFSET 0
    ) s
    WHERE m.group_id = :group_id AND m.is_member
    GROUP BY s.monday
) w ON w.monday = weeks.monday
ORDER BY weeks.monday;

-- weeks of member --
-- The twelve weeks of a member m, oldest first, as JSON.
SELECT CAST(json_agg(json_build_object('start', weeks.monday, 'answers', coalesce(s.answers, 0), 'accuracy_rate',
    CAST(s.correct_answers AS double precision) / nullif(s.answers, 0)) ORDER BY weeks.monday) AS text)
FROM {read_models/weekly_stats twelve_weeks}
LEFT JOIN weekly_stats s ON s.user_id = m.user_id AND s.monday = weeks.monday
