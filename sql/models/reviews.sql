-- Every review, in the order of its time: a lapse is a pair of neighbours.

-- table --
CREATE TABLE reviews (
    user_id       text COLLATE "C" NOT NULL,
    item_id       text COLLATE "C" NOT NULL,
    occurred_at   timestamptz NOT NULL,
    event_id      uuid        NOT NULL,
    interval_days bigint      NOT NULL,
    PRIMARY KEY (user_id, item_id, occurred_at, event_id)
);

-- as of --
CREATE TEMPORARY TABLE reviews (LIKE reviews INCLUDING STORAGE, PRIMARY KEY (user_id, item_id, occurred_at, event_id))
    ON COMMIT DELETE ROWS;

-- window --
CREATE TEMPORARY TABLE window_reviews (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C", first_mastered_at timestamptz, first_mastered_on date,
    reviewed_at timestamptz, review_id uuid, interval_days bigint, easiness_factor double precision,
    lapses bigint                          -- how many more than before; may be negative
) ON COMMIT DELETE ROWS;

-- clear --
DELETE FROM window_reviews;

-- fold --
-- A new review makes pairs with its neighbours, and parts those that were a pair: only these are counted.
-- Sorted by item first: a learner's own reviews all have one user_id, which a sort would compare each time.
INSERT INTO window_reviews
WITH arrived AS MATERIALIZED (
    SELECT user_id, item_id, occurred_at, event_id, day, interval_days, easiness_factor
    FROM window_facts
    WHERE kind = 'review'
), neighbours AS MATERIALIZED (
    SELECT a.user_id, a.item_id,
        before.occurred_at AS before_at, before.event_id AS before_id, before.interval_days AS before_days,
        after.occurred_at AS after_at, after.event_id AS after_id, after.interval_days AS after_days
    FROM arrived a
    LEFT JOIN LATERAL (
        SELECT r.occurred_at, r.event_id, r.interval_days
        FROM reviews r
        WHERE r.user_id = a.user_id AND r.item_id = a.item_id
          AND (r.occurred_at, r.event_id) < (a.occurred_at, a.event_id)
        ORDER BY r.occurred_at DESC, r.event_id DESC
        LIMIT 1
    ) before ON true
    LEFT JOIN LATERAL (
        SELECT r.occurred_at, r.event_id, r.interval_days
        FROM reviews r
        WHERE r.user_id = a.user_id AND r.item_id = a.item_id
          AND (r.occurred_at, r.event_id) > (a.occurred_at, a.event_id)
        ORDER BY r.occurred_at, r.event_id
        LIMIT 1
    ) after ON true
    WHERE has_past
), chain AS (
    SELECT user_id, item_id, occurred_at, event_id, interval_days, true AS is_new FROM arrived
    UNION ALL
    (SELECT user_id, item_id, before_at, before_id, before_days, false FROM neighbours WHERE before_at IS NOT NULL
     UNION
     SELECT user_id, item_id, after_at, after_id, after_days, false FROM neighbours WHERE after_at IS NOT NULL)
), linked AS (
    SELECT user_id, item_id, is_new, interval_days,
        lag(interval_days) OVER earlier AS before_days, lag(is_new) OVER earlier AS before_is_new
    FROM chain
    WINDOW earlier AS (PARTITION BY item_id, user_id ORDER BY occurred_at, event_id)
), parted AS (
    SELECT DISTINCT user_id, item_id, after_at, after_id, before_days, after_days
    FROM neighbours
    WHERE before_at IS NOT NULL AND after_at IS NOT NULL
), lapsed AS (
    SELECT user_id, item_id, sum(lapse)::bigint AS lapses
    FROM (
        SELECT user_id, item_id, 1 AS lapse FROM linked
        WHERE before_days >= 7 AND interval_days < 7 AND (is_new OR before_is_new)
        UNION ALL
        SELECT user_id, item_id, -1 FROM parted WHERE before_days >= 7 AND after_days < 7
    ) pairs
    GROUP BY user_id, item_id
), latest AS (
    SELECT DISTINCT ON (item_id, user_id) user_id, item_id, occurred_at, event_id, interval_days, easiness_factor
    FROM arrived
    ORDER BY item_id, user_id, occurred_at DESC, event_id DESC
), mastered AS (
    SELECT DISTINCT ON (item_id, user_id) user_id, item_id, occurred_at, day
    FROM arrived
    WHERE interval_days >= 7
    ORDER BY item_id, user_id, occurred_at
)
SELECT l.user_id, l.item_id, m.occurred_at, m.day,
    l.occurred_at, l.event_id, l.interval_days, l.easiness_factor, coalesce(c.lapses, 0)
FROM latest l
LEFT JOIN mastered m ON m.user_id = l.user_id AND m.item_id = l.item_id
LEFT JOIN lapsed c ON c.user_id = l.user_id AND c.item_id = l.item_id;

INSERT INTO reviews
SELECT user_id, item_id, occurred_at, event_id, interval_days
FROM window_facts
WHERE kind = 'review' AND has_future;

-- forget --
DELETE FROM reviews WHERE user_id = ANY (learners);
