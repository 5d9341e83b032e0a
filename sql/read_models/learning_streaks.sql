-- One row per learner and run of study days (local days with a completed session). Two study days belong to one run if
-- every day between them is a study day or a rest day. An ISO week has at most two rest days, so at most four rest days
-- are consecutive: the last two days of a week and the first two days of the next week. When a day becomes a study day
-- or a rest day, or stops being one, only runs at most five days away can therefore change.

-- table --
CREATE TABLE learning_streaks (
    user_id    text COLLATE "C" NOT NULL,
    starts     date   NOT NULL,            -- the first study day
    ends       date   NOT NULL,            -- the last study day
    study_days bigint NOT NULL,
    PRIMARY KEY (user_id, starts)
) WITH (fillfactor = 80);

-- fold --
-- A day that becomes a study day or a rest day may join two runs into one. A day is lost if it was a study day or a
-- rest day, and is neither now. A lost day may cut a run. The fold changes only runs at most five days away from a
-- changed day:
-- * `near` has these runs as they were before the window. `change` is the number of study days that the window adds to
--   a run, and may be negative.
-- * `pieces` has the parts into which lost days cut these runs. Each part begins and ends with a study day. The fold
--   counts the study days of all parts of a run except the longest part. The longest part has all other study days of
--   the run. A cut near the end of a long run therefore reads few rows. Each new study day outside of these runs is a
--   piece, too.
-- * `joined` has the new runs, each of which consists of one or more pieces.
IF EXISTS (SELECT FROM window_days WHERE sessions_completed <> 0) OR EXISTS (SELECT FROM window_rest_days) THEN
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
    SELECT n.*, coalesce(sum(CASE WHEN t.studied THEN 1 ELSE -1 END) FILTER (WHERE t.day IS NOT NULL), 0) AS change
    FROM (
        SELECT DISTINCT c.user_id, r.place, r.starts, r.ends, r.study_days
        FROM (SELECT user_id, day FROM turned UNION SELECT user_id, day FROM window_rest_days) c
        CROSS JOIN LATERAL (
            (SELECT s.ctid AS place, s.starts, s.ends, s.study_days
            FROM learning_streaks s
            WHERE s.user_id = c.user_id AND s.starts <= c.day AND has_past
            ORDER BY s.starts DESC
            LIMIT 1)
            UNION ALL
            (SELECT s.ctid, s.starts, s.ends, s.study_days
            FROM learning_streaks s
            WHERE s.user_id = c.user_id AND s.starts > c.day AND s.starts <= c.day + 5 AND has_past
            ORDER BY s.starts
            LIMIT 1)
        ) r
        WHERE r.ends >= c.day - 5
    ) n
    LEFT JOIN turned t ON t.user_id = n.user_id AND t.day BETWEEN n.starts AND n.ends
    GROUP BY n.user_id, n.place, n.starts, n.ends, n.study_days
), lost AS (
    SELECT t.user_id, t.day
    FROM turned t
    LEFT JOIN LATERAL (
        SELECT r.day FROM rest_days r WHERE r.user_id = t.user_id AND r.day = t.day OFFSET 0
    ) rest ON true
    WHERE NOT t.studied AND rest.day IS NULL
    UNION
    SELECT w.user_id, w.day
    FROM window_rest_days w
    LEFT JOIN LATERAL (
        SELECT d.day
        FROM daily_stats d
        WHERE d.user_id = w.user_id AND d.day = w.day AND d.sessions_completed > 0
        OFFSET 0
    ) study ON true
    WHERE NOT w.is_rest AND study.day IS NULL
), cuts AS (
    SELECT user_id, starts AS run, starts - 1 AS day FROM near
    UNION ALL
    SELECT user_id, starts, ends + 1 FROM near
    UNION ALL
    SELECT n.user_id, n.starts, l.day
    FROM near n
    JOIN lost l ON l.user_id = n.user_id AND l.day BETWEEN n.starts AND n.ends
), parts AS (
    SELECT p.user_id, p.run, first.day AS starts, last.day AS ends,
        row_number() OVER (PARTITION BY p.user_id, p.run ORDER BY last.day - first.day DESC, first.day) = 1
            AS is_longest
    FROM (
        SELECT user_id, run, day + 1 AS starts, lead(day) OVER (PARTITION BY user_id, run ORDER BY day) - 1 AS ends
        FROM cuts
    ) p
    CROSS JOIN LATERAL (
        SELECT d.day
        FROM daily_stats d
        WHERE d.user_id = p.user_id AND d.day BETWEEN p.starts AND p.ends AND d.sessions_completed > 0
        ORDER BY d.day
        LIMIT 1
    ) first
    CROSS JOIN LATERAL (
        SELECT d.day
        FROM daily_stats d
        WHERE d.user_id = p.user_id AND d.day BETWEEN p.starts AND p.ends AND d.sessions_completed > 0
        ORDER BY d.day DESC
        LIMIT 1
    ) last
), counted AS (
    SELECT p.*, studied.days, sum(studied.days) OVER (PARTITION BY p.user_id, p.run) AS days_of_run
    FROM parts p
    CROSS JOIN LATERAL (
        SELECT count(*) AS days
        FROM daily_stats d
        WHERE d.user_id = p.user_id AND d.day BETWEEN p.starts AND p.ends AND d.sessions_completed > 0
          AND NOT p.is_longest
    ) studied
), pieces AS (
    SELECT c.user_id, c.starts, c.ends,
        CASE WHEN c.is_longest THEN n.study_days + n.change - c.days_of_run ELSE c.days END AS study_days
    FROM counted c
    JOIN near n ON n.user_id = c.user_id AND n.starts = c.run
    UNION ALL
    SELECT t.user_id, t.day, t.day, 1
    FROM turned t
    WHERE t.studied
      AND NOT EXISTS (SELECT FROM near n WHERE n.user_id = t.user_id AND t.day BETWEEN n.starts AND n.ends)
), placed AS (
    SELECT *, starts - lag(ends) OVER (PARTITION BY user_id ORDER BY starts) - 1 AS days_before
    FROM pieces
), joined AS MATERIALIZED (
    SELECT user_id, min(starts) AS starts, max(ends) AS ends, sum(study_days)::bigint AS study_days
    FROM (
        SELECT p.*, count(*) FILTER (WHERE p.days_before IS NULL OR p.days_before > rest.days)
            OVER (PARTITION BY p.user_id ORDER BY p.starts) AS island
        FROM placed p
        CROSS JOIN LATERAL (
            SELECT count(*) AS days
            FROM rest_days r
            WHERE r.user_id = p.user_id AND r.day BETWEEN p.starts - p.days_before AND p.starts - 1
              AND p.days_before BETWEEN 1 AND 4
        ) rest
    ) numbered
    GROUP BY user_id, island
), gone AS (
    DELETE FROM learning_streaks s
    USING near n
    WHERE s.ctid = n.place
      AND NOT EXISTS (SELECT FROM joined j WHERE j.user_id = n.user_id AND j.starts = n.starts)
)
INSERT INTO learning_streaks
SELECT j.user_id, j.starts, j.ends, j.study_days
FROM joined j
WHERE NOT EXISTS (
    SELECT FROM near n
    WHERE (n.user_id, n.starts, n.ends, n.study_days) = (j.user_id, j.starts, j.ends, j.study_days))
ORDER BY j.user_id, j.starts
ON CONFLICT (user_id, starts) DO UPDATE SET ends = excluded.ends, study_days = excluded.study_days;
END IF;

-- definition --
-- For all days of an unbroken sequence of study days and rest days, the day minus the row number is the same date. This
-- date identifies the sequence.
SELECT user_id, min(day) FILTER (WHERE studied) AS starts, max(day) FILTER (WHERE studied) AS ends,
    count(*) FILTER (WHERE studied) AS study_days
FROM (
    SELECT user_id, day, studied,
        day - CAST(row_number() OVER (PARTITION BY user_id ORDER BY day) AS integer) AS run
    FROM (
        SELECT user_id, day, bool_or(studied) AS studied
        FROM (
            SELECT user_id, day, true AS studied FROM daily_stats WHERE sessions_completed > 0
            UNION ALL
            SELECT user_id, day, false FROM rest_days
        ) days
        GROUP BY user_id, day
    ) covered
) numbered
GROUP BY user_id, run
HAVING bool_or(studied)

-- snapshot --
(SELECT array_agg(t)::text FROM learning_streaks t WHERE t.user_id = learner)

-- reset_learners --
DELETE FROM learning_streaks WHERE user_id = ANY (learners);

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
