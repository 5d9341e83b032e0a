-- The changes that the window's reviews make to item_stats. A lapse is a pair of consecutive reviews of an item: the
-- earlier review has an interval of 7 days or more, and the later review has an interval of less than 7 days.

-- window --
CREATE TEMPORARY TABLE window_reviews (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C",
    first_mastered_at timestamptz, first_mastered_on date,
    reviewed_at timestamptz, review_id uuid, interval_days bigint, easiness_factor double precision,
    lapses bigint,                         -- the number of lapses that the reviews add
    reviewed_on date, reviews bigint       -- the number of the window's reviews
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_reviews;

-- fold --
-- A new review forms pairs with its neighbours and separates a former pair. Only these pairs are counted. One sort
-- finds the pairs, the latest review, and the first new review with an interval of 7 days or more. The sort compares
-- the item_id first: many rows have the same user_id, so the user_id alone seldom decides the order. An item's rows are
-- sorted newest first, so that the first row is the item's latest review. A new review usually follows the latest
-- stored one, which is in item_stats; otherwise its neighbours are looked up.
INSERT INTO window_reviews
WITH arrived AS MATERIALIZED (
    SELECT user_id, item_id, occurred_at, event_id, day, interval_days, easiness_factor
    FROM window_facts
    WHERE kind = 'review'
), neighbours AS MATERIALIZED (
    SELECT a.user_id, a.item_id,
        CASE WHEN latest.is_before THEN latest.reviewed_at ELSE before.occurred_at END     AS before_at,
        CASE WHEN latest.is_before THEN latest.review_id ELSE before.event_id END          AS before_id,
        CASE WHEN latest.is_before THEN latest.interval_days ELSE before.interval_days END AS before_days,
        after.occurred_at AS after_at, after.event_id AS after_id, after.interval_days AS after_days
    FROM arrived a
    CROSS JOIN LATERAL (
        SELECT s.reviewed_at, s.review_id, s.interval_days,
            (s.reviewed_at, s.review_id) < (a.occurred_at, a.event_id) AS is_before
        FROM item_stats s
        WHERE s.user_id = a.user_id AND s.item_id = a.item_id AND s.reviewed_at IS NOT NULL
        OFFSET 0
    ) latest
    LEFT JOIN LATERAL (
        SELECT r.occurred_at, r.event_id, r.interval_days
        FROM reviews r
        WHERE NOT latest.is_before AND r.user_id = a.user_id AND r.item_id = a.item_id
          AND (r.occurred_at, r.event_id) < (a.occurred_at, a.event_id)
        ORDER BY r.occurred_at DESC, r.event_id DESC
        LIMIT 1
    ) before ON true
    LEFT JOIN LATERAL (
        SELECT r.occurred_at, r.event_id, r.interval_days
        FROM reviews r
        WHERE NOT latest.is_before AND r.user_id = a.user_id AND r.item_id = a.item_id
          AND (r.occurred_at, r.event_id) > (a.occurred_at, a.event_id)
        ORDER BY r.occurred_at, r.event_id
        LIMIT 1
    ) after ON true
    WHERE has_past
), chain AS (
    SELECT user_id, item_id, occurred_at, event_id, day, interval_days, easiness_factor, true AS is_new FROM arrived
    UNION ALL
    (SELECT user_id, item_id, before_at, before_id, NULL::date, before_days, NULL::double precision, false
     FROM neighbours WHERE before_at IS NOT NULL
     UNION
     SELECT user_id, item_id, after_at, after_id, NULL, after_days, NULL, false
     FROM neighbours WHERE after_at IS NOT NULL)
), linked AS (
    SELECT *, lead(interval_days) OVER later AS before_days, lead(is_new) OVER later AS before_is_new,
        lag(is_new) OVER later IS NULL AS is_latest   -- false for every new review if a stored review is later
    FROM chain
    WINDOW later AS (PARTITION BY item_id, user_id ORDER BY occurred_at DESC, event_id DESC)
), reviewed AS (
    SELECT user_id, item_id,
        max(occurred_at)          FILTER (WHERE is_latest)     AS reviewed_at,
        (array_agg(event_id)      FILTER (WHERE is_latest))[1] AS review_id,
        max(interval_days)        FILTER (WHERE is_latest)     AS interval_days,
        max(easiness_factor)      FILTER (WHERE is_latest)     AS easiness_factor,
        max(day)                  FILTER (WHERE is_latest)     AS reviewed_on,
        count(*)                  FILTER (WHERE is_new)        AS reviews,
        min(occurred_at)          FILTER (WHERE is_new AND interval_days >= 7) AS first_mastered_at,
        array_agg(day ORDER BY occurred_at DESC, event_id DESC)
                                  FILTER (WHERE is_new AND interval_days >= 7) AS mastered_on,
        count(*) FILTER (WHERE before_days >= 7 AND interval_days < 7 AND (is_new OR before_is_new)) AS lapses
    FROM linked
    GROUP BY item_id, user_id
), parted AS (
    SELECT user_id, item_id, count(*) FILTER (WHERE before_days >= 7 AND after_days < 7) AS lapses
    FROM (
        SELECT DISTINCT user_id, item_id, after_at, after_id, before_days, after_days
        FROM neighbours
        WHERE before_at IS NOT NULL AND after_at IS NOT NULL
    ) pairs
    GROUP BY user_id, item_id
)
SELECT r.user_id, r.item_id, r.first_mastered_at, r.mastered_on[cardinality(r.mastered_on)],
    r.reviewed_at, r.review_id, r.interval_days, r.easiness_factor, r.lapses - coalesce(p.lapses, 0),
    r.reviewed_on, r.reviews
FROM reviewed r
LEFT JOIN parted p ON p.user_id = r.user_id AND p.item_id = r.item_id;
