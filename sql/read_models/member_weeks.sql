-- One row per learner who ever joined or left a group and has a row in daily_stats. The row has the learner's newest
-- day, the sums over the 1, 2 … 7 days up to this day, and the learner's newest zone. From this row, a teacher's query
-- computes a member's last seven days, usually without daily_stats.

-- table --
CREATE TABLE member_weeks (
    user_id         text COLLATE "C" PRIMARY KEY,
    last_day        date NOT NULL,         -- the learner's newest day in daily_stats
    last_study_date date,
    run_days        bigint,                -- study days of the latest run
    answers_1 bigint NOT NULL,   -- answers_n, correct_n: sums over the n days up to last_day
    answers_2 bigint NOT NULL,
    answers_3 bigint NOT NULL,
    answers_4 bigint NOT NULL,
    answers_5 bigint NOT NULL,
    answers_6 bigint NOT NULL,
    answers_7 bigint NOT NULL,
    correct_1 bigint NOT NULL,
    correct_2 bigint NOT NULL,
    correct_3 bigint NOT NULL,
    correct_4 bigint NOT NULL,
    correct_5 bigint NOT NULL,
    correct_6 bigint NOT NULL,
    correct_7 bigint NOT NULL,
    zone_since     timestamptz NOT NULL,   -- starts_at of the learner's newest row in zones_in_force
    day_start_hour bigint NOT NULL,        -- day_start_hour and timezone are from the same row
    timezone       text COLLATE "C" NOT NULL
);

-- changed --
-- The members with a changed day, rest day or zone, the learners who joined or left a group, and those who are folded
-- again.
SELECT c.user_id
FROM (
    SELECT user_id FROM window_days
    UNION
    SELECT user_id FROM window_members
    UNION
    SELECT user_id FROM window_rest_days
    UNION
    SELECT user_id FROM window_facts WHERE kind = 'preference'
) c
CROSS JOIN LATERAL (   -- with EXISTS, the planner may read the groups of all learners
    SELECT FROM group_members g WHERE g.user_id = c.user_id LIMIT 1
) m
UNION
SELECT user_id FROM window_refolded

-- read --
WITH daily_stats AS NOT MATERIALIZED (
    SELECT *
    FROM daily_stats d
    WHERE d.user_id = c.user_id
      AND d.day > (SELECT max(l.day) FROM daily_stats l WHERE l.user_id = c.user_id) - 7
), learning_streaks AS NOT MATERIALIZED (
    SELECT * FROM learning_streaks WHERE user_id = c.user_id ORDER BY starts DESC LIMIT 1
), zones_in_force AS NOT MATERIALIZED (
    SELECT * FROM ({read_models/preferences live zones_in_force}) z
    WHERE z.user_id = c.user_id
    ORDER BY z.starts_at DESC
    LIMIT 1
)

-- definition --
SELECT l.user_id, l.last_day, r.ends AS last_study_date, r.study_days AS run_days,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 1), 0) AS bigint) AS answers_1,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 2), 0) AS bigint) AS answers_2,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 3), 0) AS bigint) AS answers_3,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 4), 0) AS bigint) AS answers_4,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 5), 0) AS bigint) AS answers_5,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 6), 0) AS bigint) AS answers_6,
    CAST(coalesce(sum(d.answers) FILTER (WHERE d.day > l.last_day - 7), 0) AS bigint) AS answers_7,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 1), 0) AS bigint) AS correct_1,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 2), 0) AS bigint) AS correct_2,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 3), 0) AS bigint) AS correct_3,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 4), 0) AS bigint) AS correct_4,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 5), 0) AS bigint) AS correct_5,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 6), 0) AS bigint) AS correct_6,
    CAST(coalesce(sum(d.correct_answers) FILTER (WHERE d.day > l.last_day - 7), 0) AS bigint) AS correct_7,
    coalesce(z.starts_at, CAST('-infinity' AS timestamp)) AS zone_since,
    coalesce(z.day_start_hour, 0) AS day_start_hour, coalesce(z.timezone, 'UTC') AS timezone
FROM (
    SELECT user_id, max(day) AS last_day
    FROM daily_stats
    WHERE user_id IN (SELECT user_id FROM group_members)
    GROUP BY user_id
) l
JOIN daily_stats d ON d.user_id = l.user_id AND d.day > l.last_day - 7
LEFT JOIN (
    SELECT user_id, ends, study_days, row_number() OVER (PARTITION BY user_id ORDER BY starts DESC) AS place
    FROM learning_streaks
) r ON r.user_id = l.user_id AND r.place = 1
LEFT JOIN zones_in_force z ON z.user_id = l.user_id AND z.ends_at = CAST('infinity' AS timestamp)
GROUP BY l.user_id, l.last_day, r.ends, r.study_days, z.starts_at, z.day_start_hour, z.timezone
