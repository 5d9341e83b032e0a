-- One row per learner and GoalSet event.

-- table --
CREATE TABLE goals (
    user_id         text COLLATE "C" NOT NULL,
    occurred_at     timestamptz NOT NULL,  -- time at which the learner set the goal
    event_id        uuid   NOT NULL,       -- id of the event that set the goal
    answers_per_day bigint NOT NULL,       -- goal, in answers a day; 0 ends the goal
    day             date   NOT NULL,       -- local day from which the goal is in force
    PRIMARY KEY (user_id, occurred_at, event_id)
) WITH (fillfactor = 90);

-- fold --
IF 'goal' = ANY (window_kinds) THEN
INSERT INTO goals
SELECT user_id, occurred_at, event_id, answers_per_day, day
FROM window_facts
WHERE kind = 'goal'
ORDER BY user_id, occurred_at, event_id;
END IF;

-- definition --
SELECT user_id, occurred_at, event_id, answers_per_day, day
FROM dated_facts
WHERE kind = 'goal'

-- in_force --
-- The local days on which each goal is in force: from first_day to the day before next_day; none if next_day is not
-- later. A null next_day means that no goal was set later.
SELECT user_id, answers_per_day, day AS first_day, min(day) OVER (PARTITION BY user_id
        ORDER BY occurred_at DESC, event_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next_day
    FROM goals

-- goal --
-- The goal in force today, and how the goals of the last 30 local days were met; no row if no goal is in force today.
-- The goal of a local day is the latest GoalSet on this day or earlier. The query reads every GoalSet since 00:00 UTC
-- on the first of the 30 days, and the latest GoalSet before this time. This earlier GoalSet counts for the first day:
-- local time is less than a day ahead of UTC, so the local day of this GoalSet is the first day or earlier.
WITH today AS (
    {read_models/preferences today}
),
dated AS (
    SELECT g.occurred_at, g.event_id, g.answers_per_day, g.day
    FROM today
    JOIN goals g ON g.user_id = :user_id AND g.occurred_at >= CAST(today.day - 29 AS timestamptz)
    UNION ALL
    (SELECT g.occurred_at, g.event_id, g.answers_per_day, g.day
    FROM today
    JOIN goals g ON g.user_id = :user_id AND g.occurred_at < CAST(today.day - 29 AS timestamptz)
    ORDER BY g.occurred_at DESC, g.event_id DESC
    LIMIT 1)
),
last_of_day AS (
    SELECT DISTINCT ON (day) *
    FROM dated
    ORDER BY day, occurred_at DESC, event_id DESC
),
days AS (
    SELECT ago, g.answers_per_day, coalesce(d.answers, 0) AS answers,
        {read_models/daily_stats is_study_day} AS is_studied,
        coalesce(g.answers_per_day > 0 AND d.answers >= g.answers_per_day, FALSE) AS is_met
    FROM today
    CROSS JOIN generate_series(0, 29) AS ago
    LEFT JOIN daily_stats d ON d.user_id = :user_id AND d.day = today.day - ago
    LEFT JOIN LATERAL (
        SELECT l.answers_per_day FROM last_of_day l
        WHERE l.day <= today.day - ago
        ORDER BY l.occurred_at DESC, l.event_id DESC LIMIT 1
    ) g ON TRUE
)
SELECT
    max(answers_per_day) FILTER (WHERE ago = 0)        AS answers_per_day,
    max(answers) FILTER (WHERE ago = 0)                AS answers_today,
    count(*) FILTER (WHERE ago < 7 AND is_met)         AS days_met7,
    count(*) FILTER (WHERE is_met)                     AS days_met30,
    array_agg(is_met ORDER BY ago DESC) FILTER (WHERE ago < 7) AS week,
    count(*) FILTER (WHERE is_studied)                 AS study_days30
FROM days
HAVING max(answers_per_day) FILTER (WHERE ago = 0) > 0;

-- export goals --
COPY (
    SELECT occurred_at AS set_at, answers_per_day
    FROM goals
    WHERE user_id = current_setting('export.learner')
    ORDER BY occurred_at, event_id
) TO STDOUT (FORMAT csv, HEADER);
