-- One row per learner and session that a counted event names: a start, an answer, the completion that counts, an
-- abandonment.

-- table --
CREATE TABLE learner_sessions (
    user_id          text COLLATE "C" NOT NULL,
    session_id       text COLLATE "C" NOT NULL,  -- id of the session; two learners may have a session with one id
    started_at       timestamptz NOT NULL, -- time of the session's first event
    ended_at         timestamptz NOT NULL, -- time of the session's last event; later completions do not count
    completed_at     timestamptz,          -- time of its first completion; null: not completed
    score            bigint,               -- points of this completion, as a number; null if it has none
    duration_seconds bigint,               -- of this completion, in seconds, at most 14,400; null if it has none
    item_count       bigint,               -- planned number of items, of the first start; null if it has none
    answers          bigint NOT NULL,
    correct_answers  bigint NOT NULL,
    response_ms      bigint NOT NULL,
    timed_answers    bigint NOT NULL,
    items            bigint NOT NULL,      -- number of items answered in the session
    items_missed     bigint NOT NULL,      -- number of these items with an answer in the session that is not correct
    items_new        bigint NOT NULL,      -- number of these items whose first answer ever is in the session
    begun_at         timestamptz,          -- time of the first start; null: no start is known
    begun_id         uuid,                 -- id of the event of this start
    opened_at        timestamptz,          -- time of the first start or abandonment
    left_at          timestamptz,          -- time of the last start or abandonment
    last_answered_at timestamptz,          -- time of the session's last answer
    PRIMARY KEY (user_id, session_id)
) WITH (fillfactor = 70);

-- The order of the list.
CREATE INDEX learner_sessions_by_time ON learner_sessions (user_id, started_at DESC, session_id);

-- fold --
-- The earliest completion counts, so that the start of a session only moves back, as long as nothing is retracted. Its
-- end may move back, too, if an earlier completion arrives: it follows from times that only grow.
INSERT INTO learner_sessions AS s
SELECT g.user_id, g.session_id, least(g.started_at, g.first_at),
    greatest(c.occurred_at, g.left_at, g.last_answered_at, g.last_at), c.occurred_at, c.score, c.duration_seconds,
    g.item_count, coalesce(g.answers, 0), coalesce(g.correct_answers, 0), coalesce(g.response_ms, 0),
    coalesce(g.timed_answers, 0), coalesce(g.items, 0), coalesce(g.items_missed, 0), coalesce(g.items_new, 0),
    g.begun_at, g.begun_id, g.opened_at, g.left_at, g.last_answered_at
FROM (
    SELECT *
    FROM (
        SELECT user_id, session_id, min(occurred_at) AS started_at, bool_or(kind = 'completion') AS is_completed,
            (array_agg(item_count ORDER BY occurred_at, event_id) FILTER (WHERE kind = 'start'))[1] AS item_count,
            coalesce(sum(change) FILTER (WHERE kind = 'answer'), 0) AS answers,
            coalesce(sum(change) FILTER (WHERE correct), 0) AS correct_answers,
            coalesce(sum(change * response_ms), 0) AS response_ms,
            coalesce(sum(change) FILTER (WHERE response_ms IS NOT NULL), 0) AS timed_answers,
            min(occurred_at) FILTER (WHERE kind = 'start') AS begun_at,
            (array_agg(event_id ORDER BY occurred_at, event_id) FILTER (WHERE kind = 'start'))[1] AS begun_id,
            min(occurred_at) FILTER (WHERE kind IN ('start', 'abandonment')) AS opened_at,
            max(occurred_at) FILTER (WHERE kind IN ('start', 'abandonment')) AS left_at,
            max(occurred_at) FILTER (WHERE kind = 'answer') AS last_answered_at
        FROM window_facts
        WHERE kind IN ('start', 'answer', 'completion', 'abandonment') AND session_id IS NOT NULL
        GROUP BY session_id, user_id
    ) w
    FULL JOIN (
        SELECT user_id, session_id, min(first_at) AS first_at, max(last_at) AS last_at, sum(items) AS items,
            sum(items_missed) AS items_missed, sum(items_new) AS items_new
        FROM window_sessions
        WHERE session_id IS NOT NULL
        GROUP BY session_id, user_id
    ) i USING (session_id, user_id)
) g
LEFT JOIN LATERAL (
    SELECT * FROM completions c WHERE c.user_id = g.user_id AND c.session_id = g.session_id AND g.is_completed OFFSET 0
) c ON true
ORDER BY g.user_id, g.session_id
ON CONFLICT (user_id, session_id) DO UPDATE SET
    started_at       = least(s.started_at, excluded.started_at),
    ended_at         = greatest(s.left_at, s.last_answered_at, excluded.left_at, excluded.last_answered_at,
        coalesce(excluded.completed_at, s.completed_at)),
    completed_at     = coalesce(excluded.completed_at, s.completed_at),
    score            = CASE WHEN excluded.completed_at IS NULL THEN s.score ELSE excluded.score END,
    duration_seconds = CASE WHEN excluded.completed_at IS NULL THEN s.duration_seconds
        ELSE excluded.duration_seconds END,
    item_count       = CASE WHEN (excluded.begun_at, excluded.begun_id) < (s.begun_at, s.begun_id)
        OR s.begun_at IS NULL THEN excluded.item_count ELSE s.item_count END,
    answers          = s.answers         + excluded.answers,
    correct_answers  = s.correct_answers + excluded.correct_answers,
    response_ms      = s.response_ms     + excluded.response_ms,
    timed_answers    = s.timed_answers   + excluded.timed_answers,
    items            = s.items           + excluded.items,
    items_missed     = s.items_missed    + excluded.items_missed,
    items_new        = s.items_new       + excluded.items_new,
    begun_at         = least(s.begun_at, excluded.begun_at),
    begun_id         = CASE WHEN (excluded.begun_at, excluded.begun_id) < (s.begun_at, s.begun_id)
        OR s.begun_at IS NULL THEN excluded.begun_id ELSE s.begun_id END,
    opened_at        = least(s.opened_at, excluded.opened_at),
    left_at          = greatest(s.left_at, excluded.left_at),
    last_answered_at = greatest(s.last_answered_at, excluded.last_answered_at);

-- Compute the times of the sessions with a retracted answer again. Delete those of which nothing is left.
IF 'retracted' = ANY (window_kinds) THEN
    WITH touched AS MATERIALIZED (
        SELECT s.place, i.last_at, greatest(s.left_at, s.completed_at, i.last_at) AS ended_at,
            least(s.opened_at, s.completed_at, i.first_at) AS started_at
        FROM (SELECT DISTINCT user_id, session_id FROM window_facts WHERE kind = 'answer' AND change < 0) f
        CROSS JOIN LATERAL (
            SELECT s.*, s.ctid AS place
            FROM learner_sessions s
            WHERE s.user_id = f.user_id AND s.session_id = f.session_id
            OFFSET 0
        ) s
        CROSS JOIN LATERAL (
            SELECT min(i.first_at) AS first_at, max(i.last_at) AS last_at
            FROM session_items i
            WHERE i.user_id = f.user_id AND i.session_id = f.session_id
            OFFSET 0
        ) i
    ), gone AS (
        DELETE FROM learner_sessions WHERE ctid = ANY (ARRAY(SELECT place FROM touched WHERE started_at IS NULL))
    )
    UPDATE learner_sessions s
    SET started_at = t.started_at, ended_at = t.ended_at, last_answered_at = t.last_at
    FROM touched t
    WHERE s.ctid = t.place AND t.started_at IS NOT NULL;
END IF;

-- definition --
WITH named AS (
    SELECT user_id, session_id, min(occurred_at) AS started_at,
        count(*) FILTER (WHERE kind = 'answer') AS answers, count(*) FILTER (WHERE correct) AS correct_answers,
        CAST(coalesce(sum(response_ms), 0) AS bigint) AS response_ms, count(response_ms) AS timed_answers,
        min(occurred_at) FILTER (WHERE kind IN ('start', 'abandonment')) AS opened_at,
        max(occurred_at) FILTER (WHERE kind IN ('start', 'abandonment')) AS left_at,
        max(occurred_at) FILTER (WHERE kind = 'answer') AS last_answered_at
    FROM dated_facts
    WHERE kind IN ('start', 'answer', 'completion', 'abandonment') AND session_id IS NOT NULL
    GROUP BY user_id, session_id
), begun AS (
    SELECT user_id, session_id, occurred_at, event_id, item_count
    FROM (
        SELECT *, row_number() OVER (PARTITION BY user_id, session_id ORDER BY occurred_at, event_id) AS place
        FROM dated_facts
        WHERE kind = 'start'
    ) s
    WHERE place = 1
), met AS (
    SELECT user_id, session_id, count(*) AS items, count(*) FILTER (WHERE answers > correct_answers) AS items_missed
    FROM session_items
    GROUP BY user_id, session_id
), opened AS (
    SELECT user_id, session_id, count(*) AS items_new
    FROM (
        SELECT user_id, session_id,
            row_number() OVER (PARTITION BY user_id, item_id ORDER BY occurred_at, event_id) AS place
        FROM dated_facts
        WHERE kind = 'answer'
    ) a
    WHERE place = 1
    GROUP BY user_id, session_id
)
SELECT n.user_id, n.session_id, n.started_at, greatest(c.occurred_at, n.left_at, n.last_answered_at) AS ended_at,
    c.occurred_at AS completed_at, c.score, c.duration_seconds, b.item_count, n.answers, n.correct_answers,
    n.response_ms, n.timed_answers, coalesce(m.items, 0) AS items, coalesce(m.items_missed, 0) AS items_missed,
    coalesce(o.items_new, 0) AS items_new, b.occurred_at AS begun_at, b.event_id AS begun_id, n.opened_at, n.left_at,
    n.last_answered_at
FROM named n
LEFT JOIN completions c ON c.user_id = n.user_id AND c.session_id = n.session_id
LEFT JOIN begun b ON b.user_id = n.user_id AND b.session_id = n.session_id
LEFT JOIN met m ON m.user_id = n.user_id AND m.session_id = n.session_id
LEFT JOIN opened o ON o.user_id = n.user_id AND o.session_id = n.session_id

-- snapshot --
(SELECT jsonb_object_agg(t.session_id, ARRAY[t]::text) FROM learner_sessions t WHERE t.user_id = learner)

-- fields --
s.session_id                                       AS id,
s.started_at,
s.ended_at,
s.completed_at,
s.item_count,
s.score,
s.duration_seconds,
s.answers,
s.correct_answers,
CAST(s.correct_answers AS double precision) / nullif(s.answers, 0) AS accuracy_rate,
CAST(s.response_ms AS double precision) / nullif(s.timed_answers, 0) AS average_response_ms,
s.items,
s.items_new,
s.items_missed

-- list --
-- One page of a learner's sessions, newest first, after the given one. Each row also has the number of all sessions.
SELECT total.sessions AS total_count, {read_models/learner_sessions fields}
FROM (SELECT count(*) AS sessions FROM learner_sessions WHERE user_id = :user_id) AS total
LEFT JOIN (
    SELECT *
    FROM learner_sessions
    WHERE user_id = :user_id
      AND CASE WHEN CAST(:after_at AS timestamptz) IS NULL THEN TRUE
               ELSE started_at < :after_at OR (started_at = :after_at AND session_id > :after_id) END
      AND started_at <= coalesce(CAST(:after_at AS timestamptz), 'infinity')
    ORDER BY started_at DESC, session_id
    LIMIT CAST(:first AS bigint)
) s ON TRUE
ORDER BY s.started_at DESC, s.session_id;

-- session --
-- One session, once for each of its first 1,000 answers, in order; once without an answer if it has none. A learner who
-- posts has made the id of a session the own one (:own_id); the session of exactly the given id comes first.
SELECT {read_models/learner_sessions fields}, a.item_id, d.headword, a.correct, a.rating, a.response_time_ms, a.at
FROM (
    SELECT *
    FROM learner_sessions
    WHERE user_id = :user_id AND session_id IN (CAST(:id AS text), CAST(:own_id AS text))
    ORDER BY session_id <> :id
    LIMIT 1
) s
LEFT JOIN LATERAL (
    SELECT t.item_id, a.at, a.event_id, a.grade >= 2 AS correct,
        CASE a.event_type WHEN 'CardReviewed' THEN a.grade END AS rating,
        CASE a.event_type WHEN 'CardReviewed' THEN floor(CAST(a.event_data ->> 'duration_ms' AS double precision))
            ELSE CAST(a.event_data ->> 'response_time_ms' AS double precision) END AS response_time_ms
    FROM session_items t
    CROSS JOIN LATERAL {read_models/session_items of_session} a
    WHERE t.user_id = s.user_id AND t.session_id = s.session_id
    ORDER BY a.at, a.event_id
    LIMIT 1000
) a ON TRUE
LEFT JOIN items d ON d.item_id = a.item_id
ORDER BY a.at, a.event_id;

-- export sessions --
COPY (
    SELECT {read_models/learner_sessions fields}
    FROM (
        SELECT user_id, regexp_replace(session_id, current_setting('export.marked'), '''\&') AS session_id,
            started_at, ended_at, completed_at, item_count, score, duration_seconds, answers, correct_answers,
            response_ms, timed_answers, items, items_new, items_missed
        FROM learner_sessions
    ) s
    WHERE s.user_id = current_setting('export.learner')
    ORDER BY s.started_at DESC, s.session_id
) TO STDOUT (FORMAT csv, HEADER);
