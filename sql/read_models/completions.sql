-- One row per learner and completed session: the session's first completion, because later ones do not count.

-- table --
CREATE TABLE completions (
    user_id          text COLLATE "C" NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    occurred_at      timestamptz NOT NULL,
    event_id         uuid   NOT NULL,
    day              date   NOT NULL,      -- the learner's local day (see facts.sql)
    score            bigint,               -- null: the event has none
    duration_seconds bigint,               -- at most 14,400; null: the event has none
    PRIMARY KEY (user_id, session_id)
) WITH (fillfactor = 90);

-- window --
-- The window's changes to the sums of each day. A session can have several completions, and counts on the day of the
-- earliest. If a completion arrives that is earlier than the counted one, the session moves to the day of the earlier
-- one.
CREATE TEMPORARY TABLE window_completions (
    user_id varchar(200) COLLATE "C", day date, sessions_completed bigint, study_seconds bigint, scores bigint,
    scored_sessions bigint
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_completions;

-- fold --
WITH first AS MATERIALIZED (
    SELECT DISTINCT ON (user_id, session_id)
        user_id, session_id, occurred_at, event_id, day, score, duration_seconds
    FROM window_facts
    WHERE kind = 'completion'
    ORDER BY user_id, session_id, occurred_at, event_id
), counting AS MATERIALIZED (
    SELECT f.*, old.day AS old_day, old.score AS old_score, old.duration_seconds AS old_seconds
    FROM first f
    LEFT JOIN LATERAL (
        SELECT * FROM completions c WHERE c.user_id = f.user_id AND c.session_id = f.session_id AND has_past OFFSET 0
    ) old ON true
    WHERE old.user_id IS NULL OR (f.occurred_at, f.event_id) < (old.occurred_at, old.event_id)
), kept AS (
    INSERT INTO completions AS c
    SELECT user_id, session_id, occurred_at, event_id, day, score, duration_seconds
    FROM counting
    ON CONFLICT (user_id, session_id) DO UPDATE SET
        occurred_at      = excluded.occurred_at,
        event_id         = excluded.event_id,
        day              = excluded.day,
        score            = excluded.score,
        duration_seconds = excluded.duration_seconds
)
INSERT INTO window_completions
SELECT user_id, day, 1 AS sessions_completed, duration_seconds AS study_seconds, score AS scores,
    num_nonnulls(score) AS scored_sessions
FROM counting
UNION ALL
SELECT user_id, old_day, -1 AS sessions_completed, -old_seconds AS study_seconds, -old_score AS scores,
    -num_nonnulls(old_score) AS scored_sessions
FROM counting
WHERE old_day IS NOT NULL;

-- definition --
SELECT user_id, session_id, occurred_at, event_id, day, score, duration_seconds
FROM (
    SELECT user_id, session_id, occurred_at, event_id, day, score, duration_seconds,
        row_number() OVER (PARTITION BY user_id, session_id ORDER BY occurred_at, event_id) AS place
    FROM dated_facts
    WHERE kind = 'completion'
) completed
WHERE place = 1

-- snapshot --
(SELECT jsonb_object_agg(t.session_id, ARRAY[t]::text) FROM completions t WHERE t.user_id = learner)
