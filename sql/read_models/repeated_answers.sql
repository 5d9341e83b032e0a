-- One row per answer that is not the first of its gap (see reviews.sql). A review that arrives late divides a gap, and
-- one of these answers may become the first of the gap after the review.

-- table --
CREATE TABLE repeated_answers (
    user_id     text COLLATE "C" NOT NULL,
    item_id     text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    day         date        NOT NULL,      -- local, see facts.sql
    grade       int         NOT NULL,      -- see facts.sql
    PRIMARY KEY (user_id, item_id, occurred_at, event_id)
);

-- views --
-- Every answer: item_stats and reviews have the first answer of each gap, and repeated_answers has the others.
CREATE VIEW given_answers AS
SELECT user_id, item_id, asked_at AS occurred_at, asked_id AS event_id, asked_on AS day, asked_grade AS grade
FROM item_stats
WHERE asked_at IS NOT NULL
UNION ALL
SELECT user_id, item_id, asked_at, asked_id, asked_on, asked_grade
FROM reviews
WHERE asked_at IS NOT NULL
UNION ALL
SELECT user_id, item_id, occurred_at, event_id, day, grade
FROM repeated_answers;

CREATE VIEW remembered_answers AS
{remembered_answers};

-- window --
-- The chains of the items that are out of order (see item_stats.sql), before the window (change is -1) and after it
-- (1): rows of chained_facts (sql/projections/definitions.sql). A chain is a segment of its item's events: from the
-- last review before the window's first event about the item to the first review after its last one.
CREATE TEMPORARY TABLE window_chains (
    change int, user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C", kind varchar(10),
    occurred_at timestamptz, event_id uuid, day date, grade int, interval_days bigint,
    gap bigint, is_first boolean, days_before bigint, day_before date
) ON COMMIT DELETE ROWS;

-- The gaps of the chains after the window, with their first answers.
CREATE TEMPORARY TABLE window_gaps (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C",
    reviewed_at timestamptz, review_id uuid,   -- the review at the end of the gap; null: no review follows
    asked_at timestamptz, asked_id uuid, asked_on date, asked_grade int
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_chains;
DELETE FROM window_gaps;

-- chain_segments --
-- Apply the definition to the segments of the items out of order. A segment has the stored first answers of its gaps,
-- but other stored answers only after a new review or a retracted answer, because only these can become first answers.
-- It always has the first answer after the item's latest review: if the segment ends earlier, this answer stays as it
-- is. If all new events of an item follow its stored ones (`follows`), the segment has only that answer and the latest
-- review of these. Both are in item_stats, and the answer's row before the window needs no chain.
IF EXISTS (SELECT FROM window_items WHERE is_out_of_order) THEN
    WITH touched AS MATERIALIZED (
        SELECT i.user_id, i.item_id, i.first_cut_at, s.reviewed_at, s.last_answered_at,
            s.asked_at, s.asked_id, s.asked_on, s.asked_grade, s.review_id, s.reviewed_on, s.interval_days,
            coalesce(i.first_at > greatest(s.reviewed_at, s.last_answered_at), true) AS follows,
            coalesce(CASE WHEN i.first_at <= s.reviewed_at THEN (
                SELECT max(r.occurred_at)
                FROM reviews r
                WHERE r.user_id = i.user_id AND r.item_id = i.item_id AND r.occurred_at < i.first_at
            ) ELSE s.reviewed_at END, '-infinity') AS starts_at,
            coalesce(CASE WHEN i.last_at < s.reviewed_at THEN (
                SELECT min(r.occurred_at)
                FROM reviews r
                WHERE r.user_id = i.user_id AND r.item_id = i.item_id AND r.occurred_at > i.last_at
            ) END, 'infinity') AS ends_at
        FROM window_items i
        LEFT JOIN LATERAL (SELECT * FROM item_stats s WHERE s.ctid = i.place OFFSET 0) s ON true
        WHERE i.is_out_of_order
    ), near AS MATERIALIZED (
        SELECT r.*
        FROM touched t
        CROSS JOIN LATERAL (
            SELECT *
            FROM reviews r
            WHERE r.user_id = t.user_id AND r.item_id = t.item_id AND t.reviewed_at IS NOT NULL AND NOT t.follows
              AND r.occurred_at >= t.starts_at AND r.occurred_at <= t.ends_at
            OFFSET 0
        ) r
    ), segment AS MATERIALIZED (
        SELECT f.user_id, f.item_id, h.kind, f.occurred_at, f.event_id, f.day, h.grade, h.interval_days,
            false AS is_before
        FROM window_facts f
        CROSS JOIN LATERAL (VALUES ('answer', f.grade, NULL), ('review', NULL, f.interval_days))
            AS h (kind, grade, interval_days)
        WHERE (h.grade IS NOT NULL OR h.interval_days IS NOT NULL) AND f.change > 0
          -- IS TRUE: look each event up in a hash table; a join could use loops
          AND ((f.user_id, f.item_id) IN (SELECT user_id, item_id FROM window_items WHERE is_out_of_order)) IS TRUE
        UNION ALL
        SELECT user_id, item_id, 'review', occurred_at, event_id, day, NULL, interval_days, true
        FROM near
        UNION ALL
        SELECT user_id, item_id, 'answer', asked_at, asked_id, asked_on, asked_grade, NULL, true
        FROM near
        WHERE asked_at IS NOT NULL
        UNION ALL
        SELECT user_id, item_id, 'review', reviewed_at, review_id, reviewed_on, NULL, interval_days, false
        FROM touched
        WHERE follows AND reviewed_at IS NOT NULL
        UNION ALL
        SELECT user_id, item_id, 'answer', asked_at, asked_id, asked_on, asked_grade, NULL, NOT follows
        FROM touched
        WHERE asked_at IS NOT NULL
        UNION ALL
        SELECT p.user_id, p.item_id, 'answer', p.occurred_at, p.event_id, p.day, p.grade, NULL, true
        FROM touched t
        CROSS JOIN LATERAL (
            SELECT *
            FROM repeated_answers p
            WHERE p.user_id = t.user_id AND p.item_id = t.item_id AND t.first_cut_at <= t.last_answered_at
              AND p.occurred_at >= t.first_cut_at AND p.occurred_at <= t.ends_at
            OFFSET 0
        ) p
    )
    INSERT INTO window_chains
    SELECT v.change, c.*
    FROM (VALUES (-1), (1)) v (change)
    CROSS JOIN LATERAL (
        WITH dated_facts AS (
            SELECT *
            FROM segment s
            WHERE CASE v.change
                WHEN 1 THEN s.event_id <> ALL (ARRAY(SELECT event_id FROM window_facts WHERE change < 0))
                ELSE s.is_before END
        )
        {projections/definitions chained_facts}
    ) c
    UNION ALL
    SELECT -1, user_id, item_id, 'answer', asked_at, asked_id, asked_on, asked_grade, NULL, 0, true, interval_days,
        reviewed_on
    FROM touched
    WHERE follows AND asked_at IS NOT NULL;

    INSERT INTO window_gaps
    SELECT user_id, item_id,
        max(occurred_at)         FILTER (WHERE kind = 'review') AS reviewed_at,
        (array_agg(event_id)     FILTER (WHERE kind = 'review'))[1] AS review_id,
        max(occurred_at)         FILTER (WHERE is_first) AS asked_at,
        (array_agg(event_id)     FILTER (WHERE is_first))[1] AS asked_id,
        max(day)                 FILTER (WHERE is_first) AS asked_on,
        max(grade)               FILTER (WHERE is_first) AS asked_grade
    FROM window_chains
    WHERE change = 1
    GROUP BY item_id, user_id, gap;

    UPDATE window_items i
    SET asked_at = g.asked_at, asked_id = g.asked_id, asked_on = g.asked_on, asked_grade = g.asked_grade
    FROM window_gaps g
    WHERE g.review_id IS NULL AND i.item_id = g.item_id AND i.user_id = g.user_id;

    UPDATE window_items i
    SET lapses = i.lapses + l.change
    FROM (
        SELECT item_id, user_id, sum(change) AS change
        FROM window_chains
        WHERE {read_models/retention_stats is_lapse}
        GROUP BY item_id, user_id
        HAVING sum(change) <> 0
    ) l
    WHERE i.item_id = l.item_id AND i.user_id = l.user_id;
END IF;

-- fold --
INSERT INTO repeated_answers
SELECT f.user_id, f.item_id, f.occurred_at, f.event_id, f.day, f.grade
FROM (SELECT * FROM window_items WHERE has_repeats) i
JOIN window_facts f ON f.item_id = i.item_id AND f.user_id = i.user_id
WHERE f.grade IS NOT NULL AND f.event_id <> coalesce(i.asked_id, i.closed_id)
UNION ALL
SELECT user_id, item_id, occurred_at, event_id, day, grade
FROM window_chains
WHERE kind = 'answer' AND NOT is_first
GROUP BY event_id, user_id, item_id, occurred_at, day, grade
HAVING sum(change) = 1;

IF has_past THEN
    DELETE FROM repeated_answers
    WHERE ctid = ANY (ARRAY(
        SELECT p.ctid
        FROM (
            SELECT user_id, item_id, occurred_at, event_id
            FROM window_chains
            WHERE kind = 'answer' AND NOT is_first
            GROUP BY event_id, user_id, item_id, occurred_at
            HAVING sum(change) = -1
        ) c
        CROSS JOIN LATERAL (
            SELECT p.ctid
            FROM repeated_answers p
            WHERE p.user_id = c.user_id AND p.item_id = c.item_id
              AND p.occurred_at = c.occurred_at AND p.event_id = c.event_id
            OFFSET 0
        ) p));
END IF;

-- definition --
SELECT user_id, item_id, occurred_at, event_id, day, grade
FROM chained_facts
WHERE kind = 'answer' AND NOT is_first

-- snapshot --
(SELECT jsonb_object_agg(item_id, rows)
 FROM (
     SELECT t.item_id,
         array_agg(ROW('', '', t.occurred_at, t.event_id, t.day, t.grade)::repeated_answers)::text AS rows
     FROM repeated_answers t
     WHERE t.user_id = learner
     GROUP BY t.item_id
 ) p)
