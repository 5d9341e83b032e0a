-- One row per learner, session and item with an answer in the session. learner_sessions counts these rows.

-- table --
CREATE TABLE session_items (
    user_id         text COLLATE "C" NOT NULL,
    session_id      text COLLATE "C" NOT NULL,
    item_id         text COLLATE "C" NOT NULL,
    answers         int  NOT NULL,
    correct_answers int  NOT NULL,
    first_at        timestamptz NOT NULL,  -- of the answers
    last_at         timestamptz NOT NULL,
    PRIMARY KEY (user_id, session_id, item_id)
) WITH (fillfactor = 90);

-- window --
-- How much the window adds to the numbers of items of each session; may be negative. The times are those of answers of
-- the session, so that its row spans them anyway. Without a session, the row counts nowhere.
CREATE TEMPORARY TABLE window_sessions (
    user_id varchar(200) COLLATE "C", session_id varchar(200) COLLATE "C", first_at timestamptz, last_at timestamptz,
    items bigint NOT NULL DEFAULT 0, items_missed bigint NOT NULL DEFAULT 0, items_new bigint NOT NULL DEFAULT 0
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_sessions;

-- fold --
-- Rows are updated by their ctid (`place`), because the table has no key during a rebuild.
WITH arrived AS MATERIALIZED (
    SELECT f.*, old.place, coalesce(old.answers, 0) AS had_answers, coalesce(old.missed, 0) AS had_missed
    FROM (
        SELECT user_id, session_id, item_id, sum(change) AS answers,
            coalesce(sum(change) FILTER (WHERE NOT correct), 0) AS missed,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM window_facts
        WHERE kind = 'answer' AND session_id IS NOT NULL
        GROUP BY item_id, session_id, user_id
    ) f
    LEFT JOIN LATERAL (
        SELECT s.ctid AS place, s.answers, s.answers - s.correct_answers AS missed
        FROM session_items s
        WHERE s.user_id = f.user_id AND s.session_id = f.session_id AND s.item_id = f.item_id AND has_past
        OFFSET 0
    ) old ON true
), kept AS (
    INSERT INTO session_items
    SELECT user_id, session_id, item_id, answers, answers - missed, first_at, last_at FROM arrived WHERE place IS NULL
), added AS (
    UPDATE session_items s
    SET answers = s.answers + a.answers, correct_answers = s.correct_answers + a.answers - a.missed,
        first_at = least(s.first_at, a.first_at), last_at = greatest(s.last_at, a.last_at)
    FROM arrived a
    WHERE s.ctid = a.place
)
INSERT INTO window_sessions
SELECT user_id, session_id, min(first_at), max(last_at),
    count(*) FILTER (WHERE had_answers + answers > 0) - count(*) FILTER (WHERE had_answers > 0),
    count(*) FILTER (WHERE had_missed + missed > 0) - count(*) FILTER (WHERE had_missed > 0)
FROM arrived
GROUP BY session_id, user_id;

-- An item is new in the session of its first answer ever.
INSERT INTO window_sessions (user_id, session_id, first_at, last_at, items_new)
SELECT user_id, first_session, min(first_answered_at), max(first_answered_at), count(*)
FROM window_items
WHERE had_answers = 0 AND answers > 0 AND first_session IS NOT NULL
GROUP BY first_session, user_id;

-- If an answer is late or retracted, another answer may become the first. given_answers has the window's answers.
IF EXISTS (SELECT FROM window_items WHERE is_late) THEN
    INSERT INTO window_sessions (user_id, session_id, first_at, last_at, items_new)
    SELECT i.user_id, e.session_id, a.occurred_at, a.occurred_at, sum(a.change)
    FROM (SELECT user_id, item_id FROM window_items WHERE is_late) i
    CROSS JOIN LATERAL (
        (SELECT g.occurred_at, g.event_id, 1 AS change
         FROM given_answers g
         WHERE g.user_id = i.user_id AND g.item_id = i.item_id
         ORDER BY g.occurred_at, g.event_id
         LIMIT 1)
        UNION ALL
        (SELECT b.occurred_at, b.event_id, -1
         FROM (
             SELECT g.occurred_at, g.event_id
             FROM given_answers g
             WHERE g.user_id = i.user_id AND g.item_id = i.item_id
               AND g.event_id <> ALL (ARRAY(SELECT event_id FROM window_facts WHERE kind = 'answer' AND change > 0))
             UNION ALL
             SELECT f.occurred_at, f.event_id
             FROM window_facts f
             WHERE f.user_id = i.user_id AND f.item_id = i.item_id AND f.kind = 'answer' AND f.change < 0
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
    GROUP BY a.event_id, i.user_id, e.session_id, a.occurred_at
    HAVING sum(a.change) <> 0;
END IF;

-- Delete each row whose answers are all retracted. Compute the times of the others again.
IF 'retracted' = ANY (window_kinds) THEN
    WITH touched AS MATERIALIZED (
        SELECT s.*
        FROM (SELECT DISTINCT user_id, session_id, item_id FROM window_facts WHERE kind = 'answer' AND change < 0) f
        CROSS JOIN LATERAL (
            SELECT s.*, s.ctid AS place
            FROM session_items s
            WHERE s.user_id = f.user_id AND s.session_id = f.session_id AND s.item_id = f.item_id
            OFFSET 0
        ) s
    ), gone AS (
        DELETE FROM session_items WHERE ctid = ANY (ARRAY(SELECT place FROM touched WHERE answers = 0))
    )
    UPDATE session_items s
    SET first_at = a.first_at, last_at = a.last_at
    FROM touched t
    CROSS JOIN LATERAL (
        SELECT min(a.at) AS first_at, max(a.at) AS last_at
        FROM {read_models/session_items of_session} a
    ) a
    WHERE s.ctid = t.place AND t.answers > 0;
END IF;

-- of_session --
-- The answers to the item in the session of the row t. The log tells the session of an answer.
(
    SELECT g.occurred_at AS at, g.event_id, g.grade, e.event_type, e.event_data
    FROM given_answers g
    CROSS JOIN LATERAL (
        SELECT e.event_type, e.event_data
        FROM event_store.events e
        WHERE e.event_id = g.event_id AND e.event_data ->> 'session_id' = t.session_id
        OFFSET 0
    ) e
    WHERE g.user_id = t.user_id AND g.item_id = t.item_id AND g.occurred_at BETWEEN t.first_at AND t.last_at
    OFFSET 0
)

-- definition --
SELECT user_id, session_id, item_id, CAST(count(*) AS int) AS answers,
    CAST(count(*) FILTER (WHERE correct) AS int) AS correct_answers,
    min(occurred_at) AS first_at, max(occurred_at) AS last_at
FROM dated_facts
WHERE kind = 'answer' AND session_id IS NOT NULL
GROUP BY user_id, session_id, item_id

-- snapshot --
(SELECT jsonb_object_agg(session_id, items)
 FROM (
     SELECT t.session_id, array_agg(ROW('', '', t.item_id, t.answers, t.correct_answers, t.first_at,
         t.last_at)::session_items)::text AS items
     FROM session_items t
     WHERE t.user_id = learner
     GROUP BY t.session_id
 ) s)
