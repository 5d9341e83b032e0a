-- One row per review, with the first answer of the gap before the review. A gap is the time between two consecutive
-- reviews of an item. If an answer and a review have the same time, the answer belongs to the gap before the review.

-- table --
CREATE TABLE reviews (
    user_id       text COLLATE "C" NOT NULL,
    item_id       text COLLATE "C" NOT NULL,
    occurred_at   timestamptz NOT NULL,
    event_id      uuid        NOT NULL,
    interval_days bigint      NOT NULL,
    day           date        NOT NULL,    -- the local day (see facts.sql)
    asked_at      timestamptz,             -- the first answer of the gap before this review; null: no answer
    asked_id      uuid,
    asked_on      date,                    -- local
    asked_grade   int,                     -- the grade of this answer, 1 (again) to 4 (easy)
    PRIMARY KEY (user_id, item_id, occurred_at, event_id)
);

-- fold --
-- The first answer of the gap before a new review is in window_items if the item is not out of order (see
-- item_stats.sql). Otherwise, it is in window_gaps.
INSERT INTO reviews
SELECT f.user_id, f.item_id, f.occurred_at, f.event_id, f.interval_days, f.day,
    coalesce(i.closed_at, g.asked_at)       AS asked_at,
    coalesce(i.closed_id, g.asked_id)       AS asked_id,
    coalesce(i.closed_on, g.asked_on)       AS asked_on,
    coalesce(i.closed_grade, g.asked_grade) AS asked_grade
FROM (SELECT * FROM window_facts WHERE interval_days IS NOT NULL) f
FULL JOIN (SELECT * FROM window_items WHERE closed_at IS NOT NULL) i ON i.review_id = f.event_id
FULL JOIN window_gaps g ON g.review_id = f.event_id
WHERE coalesce(f.kind, '') <> '';  -- with f.kind <> '', the plan could use nested loops

IF has_past THEN
    UPDATE reviews r
    SET asked_at = g.asked_at, asked_id = g.asked_id, asked_on = g.asked_on, asked_grade = g.asked_grade
    FROM window_gaps g
    WHERE r.user_id = g.user_id AND r.item_id = g.item_id
      AND r.occurred_at = g.reviewed_at AND r.event_id = g.review_id
      AND r.asked_id IS DISTINCT FROM g.asked_id
      -- IS TRUE: look only the stored reviews up, which the chains before the window have; a join could use loops
      AND (g.review_id IN (SELECT event_id FROM window_chains WHERE change = -1)) IS TRUE;
END IF;

-- definition --
SELECT r.user_id, r.item_id, r.occurred_at, r.event_id, r.interval_days, r.day,
    a.occurred_at AS asked_at, a.event_id AS asked_id, a.day AS asked_on, a.grade AS asked_grade
FROM chained_facts r
LEFT JOIN chained_facts a ON a.is_first AND a.user_id = r.user_id AND a.item_id = r.item_id AND a.gap = r.gap
WHERE r.kind = 'review'

-- as_of --
-- The columns that queries read: not the answer before the review, for which each answer and review would be read.
SELECT user_id, item_id, occurred_at, event_id, interval_days, day
FROM chained_reviews

-- slipped back --
-- The days, all from first_day on and some before it, on which the interval of an item fell below 7 days, for items
-- whose latest interval is below 7. Such an item was reviewed on that day or later, or up to three days before: a
-- change of the zone (26 hours) and of the day's start (23 hours) may move the days of later reviews back.
SELECT f.item_id, f.day
FROM (
    SELECT r.item_id, r.day, r.interval_days,
        lag(r.interval_days) OVER (PARTITION BY r.item_id ORDER BY r.occurred_at, r.event_id) AS had_interval_days
    FROM item_stats s
    JOIN reviews r ON r.user_id = s.user_id AND r.item_id = s.item_id
    WHERE s.user_id = :user_id AND s.interval_days < 7 AND s.first_mastered_at IS NOT NULL
      AND s.reviewed_on >= CAST(:first_day AS date) - 3
) f
WHERE f.had_interval_days >= 7 AND f.interval_days < 7

-- snapshot --
(SELECT jsonb_object_agg(item_id, rows)
 FROM (
     SELECT t.item_id,
         array_agg(ROW('', '', t.occurred_at, t.event_id, t.interval_days, t.day,
             t.asked_at, t.asked_id, t.asked_on, t.asked_grade)::reviews)::text AS rows
     FROM reviews t
     WHERE t.user_id = learner
     GROUP BY t.item_id
 ) r)
