-- One row per learner and run of study days (local days with an answer or a completed session). Two study days belong
-- to one run if every day between them is a study day or a rest day. An ISO week has at most two rest days, so at most
-- four rest days are consecutive: the last two days of a week and the first two days of the next week.
-- Also held by: query/test_why.py.

-- table --
CREATE TABLE learning_streaks (
    user_id    text COLLATE "C" NOT NULL,
    starts     date   NOT NULL,            -- first study day, local
    ends       date   NOT NULL,            -- last study day, local
    study_days bigint NOT NULL,            -- number of study days: local days with an answer or a completed session
    PRIMARY KEY (user_id, starts)
);

-- turned --
-- The days that become or cease to be study days or rest days.
SELECT user_id, day FROM window_study_days
UNION ALL
SELECT user_id, day FROM window_rest_days

-- changed --
-- The learners who gain or lose a study day or a rest day. `since` is the start of the last run before the first of
-- these days. If this run ends before the day, `ends` and `study_days` are the run's, and its days are not read.
SELECT t.user_id, coalesce(r.starts, t.day) AS since, CASE WHEN r.ends < t.day THEN r.ends END AS ends, r.study_days
FROM (
    SELECT user_id, CASE WHEN has_past THEN min(day) ELSE '-infinity' END AS day
    FROM (
        SELECT * FROM ({read_models/learning_streaks turned}) d
        UNION ALL
        SELECT user_id, NULL FROM window_refolded
    ) d
    GROUP BY user_id
) t
LEFT JOIN LATERAL (
    SELECT s.starts, s.ends, s.study_days
    FROM learning_streaks s
    WHERE s.user_id = t.user_id AND s.starts < t.day
    ORDER BY s.starts DESC
    LIMIT 1
) r ON true

-- replaced --
t.starts >= c.since

-- read --
WITH daily_stats AS NOT MATERIALIZED (
    SELECT * FROM daily_stats WHERE user_id = c.user_id AND day > coalesce(c.ends, c.since - 1)
), rest_days AS NOT MATERIALIZED (
    SELECT * FROM rest_days WHERE user_id = c.user_id AND day > coalesce(c.ends, c.since - 1)
), study_spans AS NOT MATERIALIZED (
    SELECT c.user_id, c.since AS starts, c.ends, c.study_days
    WHERE c.ends IS NOT NULL
    UNION ALL
    SELECT * FROM ({projections/definitions study_spans}) days
)

-- definition --
-- For all spans of an unbroken sequence, the last day minus the number of days so far is the same date. This date
-- identifies the sequence.
SELECT user_id, min(starts) FILTER (WHERE study_days > 0) AS starts, max(ends) FILTER (WHERE study_days > 0) AS ends,
    CAST(sum(study_days) AS bigint) AS study_days
FROM (
    SELECT user_id, starts, ends, study_days,
        ends - CAST(sum(ends - starts + 1) OVER (PARTITION BY user_id ORDER BY starts) AS integer) AS run
    FROM study_spans
) numbered
GROUP BY user_id, run
HAVING sum(study_days) > 0

-- latest --
-- For each row of `today` (user_id, day): the learner's latest run, the number of rest days after this run and before
-- today, and whether today is a rest day.
LEFT JOIN LATERAL (
    SELECT s.starts, s.ends, s.study_days FROM learning_streaks s
    WHERE s.user_id = today.user_id
    ORDER BY s.starts DESC LIMIT 1
) AS latest ON TRUE
CROSS JOIN LATERAL (
    SELECT CAST(count(*) FILTER (WHERE r.day < today.day) AS integer) AS days_before,
        count(*) FILTER (WHERE r.day = today.day) > 0 AS is_today
    FROM rest_days r
    WHERE r.user_id = today.user_id
      AND r.day BETWEEN greatest(least(latest.ends + 1, today.day), today.day - 5) AND today.day
) AS rest

-- longest --
-- For each row of `today` (user_id, day): the learner's longest run.
LEFT JOIN LATERAL (
    SELECT s.starts, s.ends, s.study_days FROM learning_streaks s
    WHERE s.user_id = today.user_id
    ORDER BY s.study_days DESC, s.starts LIMIT 1
) AS longest ON TRUE

-- current --
-- The number of study days of the current run, or 0. The latest run is current if every day after it and before today
-- is a rest day. A run may end after today, because a clock is ahead or the learner flew west. Such a run is current,
-- and the learner counts as active today.
CASE WHEN latest.ends >= today.day - 1 - rest.days_before THEN latest.study_days ELSE 0 END

-- streak_fields --
{read_models/learning_streaks current}                     AS current,
coalesce(longest.study_days, 0)                            AS longest,
longest.starts                                             AS longest_start,
longest.ends                                               AS longest_end,
latest.ends                                                AS last_study_date,
coalesce(latest.ends >= today.day, FALSE)                  AS active_today,
coalesce(latest.ends BETWEEN today.day - 1 - rest.days_before AND today.day - 1, FALSE)
    AND NOT rest.is_today                                  AS at_risk,
rest.is_today                                              AS rest_today

-- streak --
WITH today AS (
    SELECT CAST(:user_id AS text) AS user_id, local.day FROM ({read_models/preferences today}) AS local
)
SELECT
    {read_models/learning_streaks streak_fields}
FROM today
{read_models/learning_streaks latest}
{read_models/learning_streaks longest};

-- days --
-- The days of a range from the first study day on, each with what it was, and the length of the whole run that it
-- belongs to: in which it lies or, of a rest day, on which the current run stands.
WITH today AS (
    SELECT CAST(:user_id AS text) AS user_id, local.day FROM ({read_models/preferences today}) AS local
)
SELECT asked.day AS date, k.kind, coalesce(d.answers, 0) AS answers,
    coalesce(d.sessions_completed, 0) AS sessions_completed,
    CASE WHEN k.kind = 'AHEAD' THEN 0
         WHEN run.ends >= asked.day THEN run.study_days
         WHEN k.kind = 'REST' AND asked.day > latest.ends THEN {read_models/learning_streaks current}
         ELSE 0 END AS run
FROM today
{read_models/learning_streaks latest}
CROSS JOIN LATERAL (
    SELECT CAST(:first_day AS date) + n AS day
    FROM generate_series(0, CAST(:last_day AS date) - CAST(:first_day AS date)) AS n
) AS asked
LEFT JOIN daily_stats d ON d.user_id = :user_id AND d.day = asked.day
LEFT JOIN rest_days r ON r.user_id = :user_id AND r.day = asked.day
JOIN LATERAL (
    SELECT s.ends, s.study_days FROM learning_streaks s
    WHERE s.user_id = :user_id AND s.starts <= asked.day
    ORDER BY s.starts DESC LIMIT 1
) AS run ON TRUE
CROSS JOIN LATERAL (
    SELECT CASE WHEN {read_models/daily_stats is_study_day} THEN 'STUDIED'
                WHEN asked.day > today.day THEN 'AHEAD'
                WHEN r.day IS NOT NULL THEN 'REST'
                WHEN asked.day = today.day THEN 'OPEN'
                ELSE 'MISSED' END AS kind
) AS k
ORDER BY asked.day;
