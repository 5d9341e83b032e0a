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
    first_position   bigint NOT NULL,      -- position in the log of the session's event that was recorded first
    last_position    bigint NOT NULL,      -- position in the log of the session's event that was recorded last
    PRIMARY KEY (user_id, session_id)
) WITH (fillfactor = 70);

-- The temporary table copies this storage mode, which avoids a TOAST table (see window_shape in facts.sql).
ALTER TABLE learner_sessions ALTER user_id SET STORAGE PLAIN, ALTER session_id SET STORAGE PLAIN;

-- The order of the list.
CREATE INDEX learner_sessions_by_time ON learner_sessions (user_id, started_at DESC, session_id);

-- views --
-- The events of each session, from its learner's stream between the two positions. `retracted_at` is the position of
-- the first retraction of the event.
CREATE VIEW session_facts AS
SELECT s.user_id, s.session_id, f.*
FROM learner_sessions s
CROSS JOIN LATERAL (
    SELECT f.global_position, f.event_id, CASE f.kind WHEN 'card' THEN 'answer' ELSE f.kind END AS kind, f.occurred_at,
        f.item_id, f.grade, f.response_ms, CASE WHEN f.kind IN ({retracted_kinds}) THEN (
            SELECT min(r.global_position)
            FROM retractions r
            WHERE r.stream_id = f.stream_id AND r.retracted_id = f.event_id
        ) END AS retracted_at
    FROM facts f
    WHERE f.stream_id = 'learner-' || s.user_id AND f.session_id = s.session_id
      AND f.kind IN ('start', 'answer', 'card', 'completion', 'abandonment')
      AND f.stream_version >= (
          SELECT e.stream_version FROM event_store.events e WHERE e.global_position = s.first_position)
      AND f.stream_version <= (
          SELECT e.stream_version FROM event_store.events e WHERE e.global_position = s.last_position)
    OFFSET 0
) f;

-- window --
-- The new rows of the window's sessions.
CREATE TEMPORARY TABLE window_sessions (
    LIKE learner_sessions INCLUDING STORAGE,
    place tid,                             -- of the former row; null: the session is new
    is_cut boolean                         -- an answer is retracted, or an earlier completion takes a later one's place
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_sessions;

-- fold --
INSERT INTO window_sessions
SELECT w.user_id, w.session_id,
    least(old.started_at, w.started_at)                    AS started_at,
    greatest(old.ended_at, w.ended_at, c.occurred_at)      AS ended_at,
    coalesce(c.occurred_at, old.completed_at)              AS completed_at,
    CASE WHEN c.occurred_at IS NULL THEN old.score ELSE c.score END AS score,
    CASE WHEN c.occurred_at IS NULL THEN old.duration_seconds ELSE c.duration_seconds END AS duration_seconds,
    CASE WHEN start.is_first THEN w.item_count ELSE old.item_count END AS item_count,
    coalesce(old.answers, 0) + w.answers                   AS answers,
    coalesce(old.correct_answers, 0) + w.correct_answers   AS correct_answers,
    coalesce(old.response_ms, 0) + w.response_ms           AS response_ms,
    coalesce(old.timed_answers, 0) + w.timed_answers       AS timed_answers,
    coalesce(old.items, 0) + w.items                       AS items,
    coalesce(old.items_missed, 0) + w.items_missed         AS items_missed,
    coalesce(old.items_new, 0) + coalesce(n.items_new, 0)  AS items_new,
    CASE WHEN start.is_first THEN w.begun_at ELSE old.begun_at END AS begun_at,
    CASE WHEN start.is_first THEN w.begun_id ELSE old.begun_id END AS begun_id,
    least(old.first_position, w.first_position)            AS first_position,
    greatest(old.last_position, w.last_position)           AS last_position,
    old.place,
    w.is_retracted OR coalesce(c.occurred_at < old.completed_at, false) AS is_cut
FROM (
    SELECT user_id, session_id, min(occurred_at) AS started_at,
        max(occurred_at) FILTER (WHERE kind <> 'completion')            AS ended_at,
        bool_or(kind = 'completion')                                    AS is_completed,
        coalesce(sum(change) FILTER (WHERE grade IS NOT NULL), 0)       AS answers,
        coalesce(sum(change) FILTER (WHERE correct), 0)                 AS correct_answers,
        coalesce(sum(change * response_ms), 0)                          AS response_ms,
        coalesce(sum(change) FILTER (WHERE response_ms IS NOT NULL), 0) AS timed_answers,
        count(DISTINCT item_id) FILTER (WHERE grade IS NOT NULL)        AS items,
        count(DISTINCT item_id) FILTER (WHERE NOT correct)              AS items_missed,
        min(occurred_at) FILTER (WHERE kind = 'start')                  AS begun_at,
        (array_agg(event_id ORDER BY occurred_at, event_id) FILTER (WHERE kind = 'start'))[1]   AS begun_id,
        (array_agg(item_count ORDER BY occurred_at, event_id) FILTER (WHERE kind = 'start'))[1] AS item_count,
        min(global_position) AS first_position, max(global_position)    AS last_position,
        min(change) < 0                                                 AS is_retracted
    FROM window_facts
    WHERE (grade IS NOT NULL OR kind IN ('start', 'completion', 'abandonment')) AND session_id IS NOT NULL
    GROUP BY session_id, user_id
) w
LEFT JOIN (
    SELECT user_id, first_session AS session_id, count(*) AS items_new
    FROM window_items
    WHERE had_answers = 0
    GROUP BY first_session, user_id
) n USING (session_id, user_id)
LEFT JOIN LATERAL (
    SELECT s.*, s.ctid AS place
    FROM learner_sessions s
    WHERE s.user_id = w.user_id AND s.session_id = w.session_id AND has_past
    OFFSET 0
) old ON true
LEFT JOIN LATERAL (
    SELECT * FROM completions c WHERE c.user_id = w.user_id AND c.session_id = w.session_id AND w.is_completed OFFSET 0
) c ON true
CROSS JOIN LATERAL (
    SELECT w.begun_at IS NOT NULL AND (old.begun_at IS NULL OR (w.begun_at, w.begun_id) < (old.begun_at, old.begun_id))
        AS is_first
) start;

-- Do not count an item again that has stored answers in the session. An item that was not answered since the session's
-- start has none, so that only items that are answered again are looked up. The log tells the session of an answer.
IF EXISTS (SELECT FROM window_sessions WHERE place IS NOT NULL) THEN
    UPDATE window_sessions s
    SET items = s.items - a.items, items_missed = s.items_missed - a.items_missed
    FROM (
        SELECT user_id, session_id, count(*) FILTER (WHERE h.worst = 4) AS items,
            count(*) FILTER (WHERE h.worst = 1) AS items_missed
        FROM (SELECT user_id, session_id, started_at FROM window_sessions WHERE place IS NOT NULL AND NOT is_cut) s
        JOIN (
            SELECT user_id, session_id, item_id, bool_or(NOT correct) AS is_missed
            FROM window_facts
            WHERE grade IS NOT NULL
              -- IS TRUE: look each session up in a hash table; a join could use loops
              AND ((session_id, user_id) IN (SELECT session_id, user_id FROM window_sessions WHERE place IS NOT NULL))
                  IS TRUE
            GROUP BY item_id, session_id, user_id
        ) f USING (session_id, user_id)
        JOIN window_items i USING (item_id, user_id)
        JOIN (VALUES (4), (1)) AS h (worst) ON h.worst = 4 OR f.is_missed   -- any grade; not correct
        WHERE i.had_last_answered_at >= s.started_at AND EXISTS (
            SELECT
            FROM (
                SELECT asked_at AS occurred_at, asked_id AS event_id, asked_grade AS grade
                FROM item_stats t
                WHERE t.user_id = i.user_id AND t.item_id = i.item_id
                UNION ALL
                SELECT asked_at, asked_id, asked_grade
                FROM reviews r
                WHERE r.user_id = i.user_id AND r.item_id = i.item_id AND r.occurred_at >= s.started_at
                UNION ALL
                SELECT occurred_at, event_id, grade
                FROM repeated_answers p
                WHERE p.user_id = i.user_id AND p.item_id = i.item_id
            ) g
            CROSS JOIN LATERAL (
                SELECT
                FROM event_store.events e
                WHERE e.event_id = g.event_id AND e.global_position <= window_start
                  AND e.event_data ->> 'session_id' = f.session_id
                OFFSET 0
            ) e
            WHERE g.occurred_at >= s.started_at AND g.grade <= h.worst
        )
        GROUP BY session_id, user_id
    ) a
    WHERE s.session_id = a.session_id AND s.user_id = a.user_id;
END IF;

-- Rows are updated by their ctid, which takes less time than ON CONFLICT.
UPDATE learner_sessions s SET
    started_at       = w.started_at,
    ended_at         = w.ended_at,
    completed_at     = w.completed_at,
    score            = w.score,
    duration_seconds = w.duration_seconds,
    item_count       = w.item_count,
    answers          = w.answers,
    correct_answers  = w.correct_answers,
    response_ms      = w.response_ms,
    timed_answers    = w.timed_answers,
    items            = w.items,
    items_missed     = w.items_missed,
    items_new        = w.items_new,
    begun_at         = w.begun_at,
    begun_id         = w.begun_id,
    first_position   = w.first_position,
    last_position    = w.last_position
FROM window_sessions w
WHERE s.ctid = w.place;

INSERT INTO learner_sessions
SELECT user_id, session_id, started_at, ended_at, completed_at, score, duration_seconds, item_count, answers,
    correct_answers, response_ms, timed_answers, items, items_missed, items_new, begun_at, begun_id, first_position,
    last_position
FROM window_sessions
WHERE place IS NULL
ORDER BY user_id, session_id;

-- Read the events of the sessions of which something is taken away. Delete those of which nothing is left.
IF EXISTS (SELECT FROM window_sessions WHERE is_cut) THEN
    WITH cut AS MATERIALIZED (
        SELECT s.place, f.*
        FROM window_sessions w
        CROSS JOIN LATERAL (
            SELECT s.ctid AS place
            FROM learner_sessions s
            WHERE s.user_id = w.user_id AND s.session_id = w.session_id
            OFFSET 0
        ) s
        CROSS JOIN LATERAL (
            SELECT min(f.occurred_at) AS started_at,
                greatest(w.completed_at, max(f.occurred_at) FILTER (WHERE f.kind <> 'completion')) AS ended_at,
                count(DISTINCT f.item_id) FILTER (WHERE f.kind = 'answer')      AS items,
                count(DISTINCT f.item_id) FILTER (WHERE f.grade < 2)            AS items_missed,
                min(f.global_position) AS first_position, max(f.global_position) AS last_position
            FROM session_facts f
            WHERE f.user_id = w.user_id AND f.session_id = w.session_id
              AND coalesce(f.retracted_at > window_end, true)
            OFFSET 0
        ) f
        WHERE w.is_cut
    ), gone AS (
        DELETE FROM learner_sessions WHERE ctid = ANY (ARRAY(SELECT place FROM cut WHERE started_at IS NULL))
    )
    UPDATE learner_sessions s
    SET started_at = c.started_at, ended_at = c.ended_at, items = c.items, items_missed = c.items_missed,
        first_position = c.first_position, last_position = c.last_position
    FROM cut c
    WHERE s.ctid = c.place AND c.started_at IS NOT NULL;
END IF;

-- Another answer may have become the first of its item. given_answers has the answers of the window.
IF EXISTS (SELECT FROM window_items WHERE is_late AND first_at <= had_first_answered_at) THEN
    UPDATE learner_sessions s
    SET items_new = s.items_new + c.change
    FROM (
        SELECT s.place, sum(a.change) AS change
        FROM (SELECT user_id, item_id FROM window_items WHERE is_late AND first_at <= had_first_answered_at) i
        CROSS JOIN LATERAL (
            (SELECT g.event_id, 1 AS change
             FROM given_answers g
             WHERE g.user_id = i.user_id AND g.item_id = i.item_id
             ORDER BY g.occurred_at, g.event_id
             LIMIT 1)
            UNION ALL
            (SELECT b.event_id, -1
             FROM (
                 SELECT g.occurred_at, g.event_id
                 FROM given_answers g
                 WHERE g.user_id = i.user_id AND g.item_id = i.item_id
                   AND g.event_id <> ALL (ARRAY(
                       SELECT event_id FROM window_facts WHERE grade IS NOT NULL AND change > 0))
                 UNION ALL
                 SELECT f.occurred_at, f.event_id
                 FROM window_facts f
                 WHERE f.user_id = i.user_id AND f.item_id = i.item_id AND f.change < 0
             ) b
             ORDER BY b.occurred_at, b.event_id
             LIMIT 1)
        ) a
        CROSS JOIN LATERAL (
            SELECT e.event_data ->> 'session_id' AS session_id
            FROM event_store.events e
            WHERE e.event_id = a.event_id
            OFFSET 0
        ) e
        CROSS JOIN LATERAL (
            SELECT s.ctid AS place
            FROM learner_sessions s
            WHERE s.user_id = i.user_id AND s.session_id = e.session_id
            OFFSET 0
        ) s
        GROUP BY s.place
        HAVING sum(a.change) <> 0
    ) c
    WHERE s.ctid = c.place;
END IF;

-- definition --
WITH named AS (
    SELECT user_id, session_id, min(occurred_at) AS started_at,
        max(occurred_at) FILTER (WHERE kind <> 'completion') AS ended_at,
        count(*) FILTER (WHERE kind = 'answer') AS answers, count(*) FILTER (WHERE correct) AS correct_answers,
        CAST(coalesce(sum(response_ms), 0) AS bigint) AS response_ms, count(response_ms) AS timed_answers,
        count(DISTINCT item_id) FILTER (WHERE kind = 'answer') AS items,
        count(DISTINCT item_id) FILTER (WHERE kind = 'answer' AND NOT correct) AS items_missed,
        min(global_position) AS first_position, max(global_position) AS last_position
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
SELECT n.user_id, n.session_id, n.started_at, greatest(c.occurred_at, n.ended_at) AS ended_at,
    c.occurred_at AS completed_at, c.score, c.duration_seconds, b.item_count, n.answers, n.correct_answers,
    n.response_ms, n.timed_answers, n.items, n.items_missed, coalesce(o.items_new, 0) AS items_new,
    b.occurred_at AS begun_at, b.event_id AS begun_id, n.first_position, n.last_position
FROM named n
LEFT JOIN completions c ON c.user_id = n.user_id AND c.session_id = n.session_id
LEFT JOIN begun b ON b.user_id = n.user_id AND b.session_id = n.session_id
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
-- One page of a learner's sessions, newest first, after the given one. Each row also has the number of all sessions, if
-- :is_counted: to count 10,000 takes longer than to read 20.
SELECT total.sessions AS total_count, {read_models/learner_sessions fields}
FROM (
    SELECT CASE WHEN CAST(:is_counted AS boolean)
        THEN (SELECT count(*) FROM learner_sessions WHERE user_id = :user_id) END AS sessions
) AS total
LEFT JOIN (
    SELECT *
    FROM learner_sessions
    WHERE user_id = :user_id
      AND CASE WHEN CAST(:after_started_at AS timestamptz) IS NULL THEN TRUE
               ELSE started_at < :after_started_at OR (started_at = :after_started_at AND session_id > :after_id) END
      AND started_at <= coalesce(CAST(:after_started_at AS timestamptz), 'infinity')
    ORDER BY started_at DESC, session_id
    LIMIT CAST(:first AS bigint)
) s ON TRUE
ORDER BY s.started_at DESC, s.session_id;

-- session --
-- One session, once for each of its first 1,000 answers, in order; once without an answer if it has none. A learner who
-- posts has made the id of a session the own one (:own_id); the session of exactly the given id comes first.
SELECT {read_models/learner_sessions fields}, asked.item_id, w.headword, asked.correct, asked.rating,
    asked.response_time_ms, asked.at
FROM (
    SELECT *
    FROM learner_sessions
    WHERE user_id = :user_id AND session_id IN (CAST(:id AS text), CAST(:own_id AS text))
    ORDER BY session_id <> :id
    LIMIT 1
) s
LEFT JOIN LATERAL (
    SELECT f.item_id, f.occurred_at AS at, f.event_id, f.grade >= 2 AS correct,
        CASE e.event_type WHEN 'CardReviewed' THEN f.grade END AS rating,
        CAST(f.response_ms AS double precision) AS response_time_ms
    FROM (
        SELECT *
        FROM session_facts f
        WHERE f.user_id = s.user_id AND f.session_id = s.session_id AND f.kind = 'answer' AND f.retracted_at IS NULL
        ORDER BY f.occurred_at, f.event_id
        LIMIT 1000
    ) f
    JOIN event_store.events e ON e.event_id = f.event_id
) asked ON TRUE
{read_models/items of_asked}
{read_models/own_words of_item}
ORDER BY asked.at, asked.event_id;

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
