-- One row per learner and unbroken run of study days (local days with a completed session).

-- table --
CREATE TABLE learning_streaks (
    user_id text COLLATE "C" NOT NULL,
    starts  date NOT NULL,
    ends    date NOT NULL,                 -- inclusive
    PRIMARY KEY (user_id, starts)
) WITH (fillfactor = 80);

-- The temporary tables copy this storage mode, which avoids TOAST tables (see window_shape in facts.sql).
ALTER TABLE learning_streaks ALTER user_id SET STORAGE PLAIN;

-- as_of --
CREATE TEMPORARY TABLE learning_streaks (LIKE learning_streaks INCLUDING STORAGE, PRIMARY KEY (user_id, starts))
    ON COMMIT DELETE ROWS;

-- fold --
-- A day that becomes a study day may join two runs; a day that is no longer a study day may cut a run. The fold changes
-- only runs that contain such a day or are next to it.
WITH turned AS MATERIALIZED (
    SELECT w.user_id, w.day, w.sessions_completed > 0 AS studied
    FROM window_days w
    LEFT JOIN LATERAL (
        SELECT d.sessions_completed FROM daily_stats d WHERE d.user_id = w.user_id AND d.day = w.day OFFSET 0
    ) now ON true
    CROSS JOIN LATERAL (SELECT coalesce(now.sessions_completed, 0) AS sessions) s
    WHERE w.sessions_completed <> 0
      AND (s.sessions = 0) <> (s.sessions - w.sessions_completed = 0)
), near AS MATERIALIZED (
    SELECT DISTINCT t.user_id, r.starts, r.ends
    FROM turned t
    CROSS JOIN LATERAL (
        SELECT s.starts, s.ends
        FROM learning_streaks s
        WHERE s.user_id = t.user_id AND s.starts <= t.day + 1 AND has_past
        ORDER BY s.starts DESC
        LIMIT 2
    ) r
    WHERE r.ends >= t.day - 1
), cuts AS (
    SELECT user_id, starts AS run, starts - 1 AS day FROM near
    UNION ALL
    SELECT user_id, starts, ends + 1 FROM near
    UNION ALL
    SELECT n.user_id, n.starts, t.day
    FROM near n
    JOIN turned t ON t.user_id = n.user_id AND t.day BETWEEN n.starts AND n.ends
    WHERE NOT t.studied
), pieces AS (
    SELECT user_id, day + 1 AS starts, lead(day) OVER (PARTITION BY user_id, run ORDER BY day) - 1 AS ends FROM cuts
    UNION ALL
    SELECT user_id, day, day FROM turned WHERE studied
), placed AS (
    SELECT *, starts > coalesce(lag(ends) OVER (PARTITION BY user_id ORDER BY starts) + 1, '-infinity') AS parted
    FROM pieces
    WHERE starts <= ends
), joined AS MATERIALIZED (
    SELECT user_id, min(starts) AS starts, max(ends) AS ends
    FROM (
        SELECT *, count(*) FILTER (WHERE parted) OVER (PARTITION BY user_id ORDER BY starts) AS island
        FROM placed
    ) numbered
    GROUP BY user_id, island
), gone AS (
    DELETE FROM learning_streaks s
    USING near n
    WHERE s.user_id = n.user_id AND s.starts = n.starts
      AND NOT EXISTS (SELECT FROM joined j WHERE j.user_id = n.user_id AND j.starts = n.starts)
)
INSERT INTO learning_streaks
SELECT user_id, starts, ends
FROM joined
ORDER BY user_id, starts
ON CONFLICT (user_id, starts) DO UPDATE SET ends = excluded.ends;

-- whole --
-- A day minus its row number is the same date for all days of a run. This date identifies the run.
SELECT user_id, min(day) AS starts, max(day) AS ends
FROM (
    SELECT user_id, day,
        day - CAST(row_number() OVER (PARTITION BY user_id ORDER BY day) AS integer) AS run
    FROM daily_stats
    WHERE sessions_completed > 0
) numbered
GROUP BY user_id, run

-- snapshot --
(SELECT array_agg(t)::text FROM learning_streaks t WHERE t.user_id = learner)

-- restore --
INSERT INTO learning_streaks SELECT * FROM unnest((state.learning_streaks #>> '{}')::learning_streaks[]);

-- reset_learners --
DELETE FROM learning_streaks WHERE user_id = ANY (learners);

-- streak_fields --
-- The result columns from the latest and the longest run. If a run ends after today (because a clock is ahead, or the
-- learner flew west), it is current and today is active.
CASE WHEN latest.ends >= today.day - 1
     THEN latest.ends - latest.starts + 1 ELSE 0 END       AS current,
coalesce(longest.ends - longest.starts + 1, 0)             AS longest,
longest.starts                                             AS longest_start,
longest.ends                                               AS longest_end,
latest.ends                                                AS last_study_date,
coalesce(latest.ends >= today.day, FALSE)                  AS active_today,
coalesce(latest.ends = today.day - 1, FALSE)               AS at_risk

-- streak --
WITH today AS (
    {read_models/preferences today}
),
latest AS (
    SELECT starts, ends FROM learning_streaks
    WHERE user_id = :user_id
    ORDER BY starts DESC LIMIT 1
),
longest AS (
    SELECT starts, ends FROM learning_streaks
    WHERE user_id = :user_id
    ORDER BY ends - starts DESC, starts LIMIT 1
)
SELECT
    {read_models/learning_streaks streak_fields}
FROM today
LEFT JOIN latest ON TRUE
LEFT JOIN longest ON TRUE;
