-- One row per answer that is not the first of its gap (see reviews.sql). A review that arrives late divides a gap, and
-- one of these answers may become the first of the gap after the review.

-- table --
CREATE TABLE repeated_answers (
    user_id     text COLLATE "C" NOT NULL,
    item_id     text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    day         date        NOT NULL,      -- local, see facts.sql
    correct     boolean     NOT NULL,
    PRIMARY KEY (user_id, item_id, occurred_at, event_id)
);

-- views --
-- Every answer: item_stats and reviews have the first answer of each gap, and repeated_answers has the others.
CREATE VIEW given_answers AS
SELECT user_id, item_id, asked_at AS occurred_at, asked_id AS event_id, asked_on AS day, recalled AS correct
FROM item_stats
WHERE asked_at IS NOT NULL
UNION ALL
SELECT user_id, item_id, asked_at, asked_id, asked_on, recalled
FROM reviews
WHERE asked_at IS NOT NULL
UNION ALL
SELECT user_id, item_id, occurred_at, event_id, day, correct
FROM repeated_answers;

CREATE VIEW remembered_answers AS
{remembered_answers};

-- window --
-- The gaps that the window changes. Only items with is_out_of_order (see item_stats.sql) have rows here.
CREATE TEMPORARY TABLE window_gaps (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C",
    reviewed_at timestamptz, review_id uuid,   -- the review at the end of the gap; null: no review follows
    is_new boolean,                            -- this review is in the window
    asked_at timestamptz, asked_id uuid, asked_on date, recalled boolean,
    days bigint,                               -- the interval of the review before the gap, if asked_id is a test
    had_on date, had_recalled boolean,         -- the answer in this gap that was the first of a former gap
    had_days bigint                            -- interval of the review before that gap, if this answer was a test
) ON COMMIT DELETE ROWS;

-- Changes of repeated_answers. An answer that is the first of its gap now (is_first) is deleted, any other is inserted.
CREATE TEMPORARY TABLE window_repeats (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C",
    occurred_at timestamptz, event_id uuid, day date, correct boolean, is_first boolean
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_gaps;
DELETE FROM window_repeats;

-- divide_gaps --
-- Find the first answer of each gap that the window changes. Only items out of order need this statement (see
-- is_out_of_order in item_stats.sql). `chain` has the item's events in the window (`new`). For each gap in which these
-- events lie, it also has the review before the gap (`anchor`), the review at the end of the gap (`end`), and the
-- stored first answer of the gap (`first`). For each new review, it also has the first repeated answer after this
-- review (`repeat`). The gap after the latest review is always included. If times are equal, answers come before
-- reviews.
IF EXISTS (SELECT FROM window_items WHERE is_out_of_order) THEN
    WITH out_of_order AS MATERIALIZED (
        SELECT i.user_id, i.item_id, s.reviewed_at, s.review_id, s.reviewed_on, s.interval_days, s.last_answered_at,
            s.asked_at, s.asked_id, s.asked_on, s.recalled
        FROM window_items i
        LEFT JOIN LATERAL (SELECT * FROM item_stats s WHERE s.ctid = i.place OFFSET 0) s ON true
        WHERE i.is_out_of_order
    ), arrived AS MATERIALIZED (
        SELECT f.user_id, f.item_id, f.occurred_at, f.event_id, f.kind = 'review' AS is_review, f.day, f.correct,
            f.interval_days, e.reviewed_at, e.last_answered_at
        FROM out_of_order e
        JOIN window_facts f ON f.item_id = e.item_id AND f.user_id = e.user_id
        WHERE f.kind IN ('answer', 'review')
    ), gaps AS MATERIALIZED (
        SELECT a.user_id, a.item_id,
            before.occurred_at AS before_at, before.event_id AS before_id, before.interval_days AS before_days,
            before.day AS before_on,
            after.occurred_at AS after_at, after.event_id AS after_id, after.interval_days AS after_days,
            after.day AS after_on, after.asked_at, after.asked_id, after.asked_on, after.recalled,
            again.occurred_at AS again_at, again.event_id AS again_id, again.day AS again_on, again.correct
        FROM arrived a
        CROSS JOIN LATERAL (
            SELECT CASE WHEN a.is_review THEN a.event_id ELSE '00000000-0000-0000-0000-000000000000' END AS id
        ) place
        LEFT JOIN LATERAL (
            SELECT *
            FROM reviews r
            WHERE r.user_id = a.user_id AND r.item_id = a.item_id AND a.occurred_at <= a.reviewed_at
              AND (r.occurred_at, r.event_id) < (a.occurred_at, place.id)
            ORDER BY r.occurred_at DESC, r.event_id DESC
            LIMIT 1
        ) before ON true
        LEFT JOIN LATERAL (
            SELECT *
            FROM reviews r
            WHERE r.user_id = a.user_id AND r.item_id = a.item_id AND a.occurred_at <= a.reviewed_at
              AND (r.occurred_at, r.event_id) >= (a.occurred_at, place.id)
            ORDER BY r.occurred_at, r.event_id
            LIMIT 1
        ) after ON true
        LEFT JOIN LATERAL (
            SELECT *
            FROM repeated_answers p
            WHERE p.user_id = a.user_id AND p.item_id = a.item_id AND p.occurred_at > a.occurred_at
              AND a.is_review AND a.occurred_at < a.last_answered_at
            ORDER BY p.occurred_at, p.event_id
            LIMIT 1
        ) again ON again.occurred_at <= after.occurred_at OR after.occurred_at IS NULL
        WHERE a.occurred_at <= a.reviewed_at OR a.is_review AND a.occurred_at < a.last_answered_at
    ), chain AS (
        SELECT user_id, item_id, occurred_at, event_id, is_review, day, correct, interval_days,
            'new' AS source, NULL::bigint AS had_days, NULL::date AS had_before
        FROM arrived
        UNION ALL
        SELECT user_id, item_id, occurred_at, event_id, true, day, NULL, interval_days, max(source), NULL, NULL
        FROM (
            SELECT user_id, item_id, reviewed_at AS occurred_at, review_id AS event_id, reviewed_on AS day,
                interval_days, 'anchor' AS source
            FROM out_of_order WHERE reviewed_at IS NOT NULL
            UNION ALL
            SELECT user_id, item_id, before_at, before_id, before_on, before_days, 'anchor'
            FROM gaps WHERE before_at IS NOT NULL
            UNION ALL
            SELECT user_id, item_id, after_at, after_id, after_on, after_days, 'end'
            FROM gaps WHERE after_at IS NOT NULL
        ) stored
        GROUP BY user_id, item_id, occurred_at, event_id, day, interval_days
        UNION ALL
        SELECT user_id, item_id, asked_at, asked_id, false, asked_on, recalled, NULL,
            'first', interval_days, reviewed_on
        FROM out_of_order WHERE asked_at IS NOT NULL
        UNION ALL
        (SELECT user_id, item_id, asked_at, asked_id, false, asked_on, recalled, NULL::bigint,
             'first', before_days, before_on
         FROM gaps WHERE asked_at IS NOT NULL
         UNION
         SELECT user_id, item_id, again_at, again_id, false, again_on, correct, NULL::bigint,
             'repeat', NULL::bigint, NULL::date
         FROM gaps WHERE again_at IS NOT NULL)
    ), linked AS MATERIALIZED (
        SELECT *, NOT is_review AND lag(is_review) OVER earlier IS DISTINCT FROM false AS is_first,
            lag(interval_days) OVER earlier AS days_before, lag(day) OVER earlier AS day_before,
            count(*) FILTER (WHERE is_review) OVER earlier - is_review::int AS gap
        FROM chain
        WINDOW earlier AS (PARTITION BY item_id, user_id ORDER BY occurred_at, is_review, event_id)
    ), repeats AS (
        INSERT INTO window_repeats
        SELECT user_id, item_id, occurred_at, event_id, day, correct, is_first
        FROM linked
        WHERE NOT is_review AND is_first = (source = 'repeat')
    )
    INSERT INTO window_gaps
    SELECT user_id, item_id,
        max(occurred_at)         FILTER (WHERE is_review)     AS reviewed_at,
        CAST(max(CAST(event_id AS text)) FILTER (WHERE is_review) AS uuid) AS review_id,
        bool_or(source = 'new')  FILTER (WHERE is_review)     AS is_new,
        max(occurred_at)         FILTER (WHERE is_first)      AS asked_at,
        CAST(max(CAST(event_id AS text)) FILTER (WHERE is_first) AS uuid)  AS asked_id,
        max(day)                 FILTER (WHERE is_first)      AS asked_on,
        bool_or(correct)         FILTER (WHERE is_first)      AS recalled,
        max(days_before)         FILTER (WHERE is_first AND days_before >= 1 AND day_before < day) AS days,
        max(day)                 FILTER (WHERE source = 'first') AS had_on,
        bool_or(correct)         FILTER (WHERE source = 'first') AS had_recalled,
        max(had_days)            FILTER (WHERE source = 'first' AND had_days >= 1 AND had_before < day) AS had_days
    FROM linked
    GROUP BY item_id, user_id, gap
    HAVING max(source) FILTER (WHERE is_review) IS DISTINCT FROM 'anchor';

    UPDATE window_items i
    SET asked_at = g.asked_at, asked_id = g.asked_id, asked_on = g.asked_on, recalled = g.recalled
    FROM window_gaps g
    WHERE g.review_id IS NULL AND i.item_id = g.item_id AND i.user_id = g.user_id;
END IF;

-- fold --
INSERT INTO repeated_answers
SELECT f.user_id, f.item_id, f.occurred_at, f.event_id, f.day, f.correct
FROM (SELECT * FROM window_items WHERE has_repeats) i
JOIN window_facts f ON f.item_id = i.item_id AND f.user_id = i.user_id
WHERE f.kind = 'answer' AND f.event_id <> coalesce(i.asked_id, i.closed_id)
UNION ALL
SELECT user_id, item_id, occurred_at, event_id, day, correct
FROM window_repeats
WHERE NOT is_first;

IF has_past THEN
    DELETE FROM repeated_answers p
    USING window_repeats w
    WHERE w.is_first AND p.user_id = w.user_id AND p.item_id = w.item_id
      AND p.occurred_at = w.occurred_at AND p.event_id = w.event_id;
END IF;

-- definition --
SELECT user_id, item_id, occurred_at, event_id, day, correct
FROM chained_facts
WHERE kind = 'answer' AND NOT is_first

-- snapshot --
(SELECT jsonb_object_agg(item_id, rows)
 FROM (
     SELECT t.item_id,
         array_agg(ROW('', '', t.occurred_at, t.event_id, t.day, t.correct)::repeated_answers)::text AS rows
     FROM repeated_answers t
     WHERE t.user_id = learner
     GROUP BY t.item_id
 ) p)
