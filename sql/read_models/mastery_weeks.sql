-- One row per learner and ISO week in which the number of items of a class of mastery changed: how many items each
-- class had at the end of the Sunday. Other weeks are as the week before. The batch job writes this table every five
-- minutes.

-- table --
CREATE TABLE mastery_weeks (
    user_id             text COLLATE "C" NOT NULL,
    monday              date   NOT NULL,
    learning            bigint NOT NULL,
    short_term_mastered bigint NOT NULL,
    long_term_mastered  bigint NOT NULL,
    PRIMARY KEY (user_id, monday)
);

-- changed --
SELECT user_id FROM batch_learners WHERE changed_week < 'infinity'

-- definition --
-- The interval of a review counts at the end of a week if no later review is of this week or an earlier one. So it
-- counts until the first week of all later reviews, which may be before its own if the learner flies west. An item's
-- answers count as a review before all others, with the interval 0, in the item's first week with an answer.
SELECT user_id, monday,
    CAST(sum(learning) OVER earlier AS bigint) AS learning,
    CAST(sum(short_term_mastered) OVER earlier AS bigint) AS short_term_mastered,
    CAST(sum(long_term_mastered) OVER earlier AS bigint) AS long_term_mastered
FROM (
    SELECT user_id, monday, sum(CASE WHEN interval_days < 7 THEN change ELSE 0 END) AS learning,
        sum(CASE WHEN interval_days BETWEEN 7 AND 20 THEN change ELSE 0 END) AS short_term_mastered,
        sum(CASE WHEN interval_days >= 21 THEN change ELSE 0 END) AS long_term_mastered
    FROM (
        SELECT r.user_id, r.interval_days, c.change,
            CASE WHEN c.change = 1 THEN r.monday ELSE r.next_monday END AS monday
        FROM (
            SELECT user_id, interval_days, monday, min(monday) OVER later AS next_monday
            FROM (
                SELECT user_id, item_id, kind, occurred_at, event_id, interval_days,
                    day - CAST((day - DATE '1990-01-01') % 7 AS integer) AS monday   -- 1990-01-01 was a Monday
                FROM (
                    SELECT user_id, item_id, 'review' AS kind, occurred_at, event_id, interval_days, day FROM reviews
                    UNION ALL
                    SELECT user_id, item_id, 'answer', NULL, NULL, 0, min(day) FROM item_days GROUP BY user_id, item_id
                ) e
            ) w
            WINDOW later AS (
                PARTITION BY user_id, item_id ORDER BY kind, occurred_at, event_id
                ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING)
        ) r
        CROSS JOIN (VALUES (1), (-1)) AS c (change)
        WHERE r.next_monday IS NULL OR r.next_monday > r.monday
    ) s
    WHERE monday IS NOT NULL
    GROUP BY user_id, monday
) d
WHERE learning <> 0 OR short_term_mastered <> 0 OR long_term_mastered <> 0
WINDOW earlier AS (PARTITION BY user_id ORDER BY monday)

-- curve --
-- The weeks whose Monday is in the range, oldest first: the past ones as they are stored, and the current one from all
-- answers and reviews, if the learner's first week has begun.
WITH today AS (
    SELECT local.day, local.day - CAST(extract(isodow FROM local.day) AS integer) + 1 AS monday
    FROM ({read_models/preferences today}) AS local
)
SELECT CAST(w.monday AS date) AS start, CAST(w.monday AS date) + 6 AS "end",
    s.learning, s.short_term_mastered, s.long_term_mastered
FROM (
    SELECT *, lead(monday, 1, DATE 'infinity') OVER (ORDER BY monday) AS next_monday
    FROM mastery_weeks
    WHERE user_id = :user_id
) s
CROSS JOIN today
CROSS JOIN LATERAL generate_series(
    CAST(s.monday AS timestamp), CAST(least(s.next_monday, today.monday) - 7 AS timestamp), INTERVAL '7 days'
) AS w (monday)
WHERE CAST(w.monday AS date) BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
UNION ALL
SELECT today.monday, today.day, count(*) FILTER (WHERE coalesce(s.interval_days, 0) < 7),
    count(*) FILTER (WHERE s.interval_days BETWEEN 7 AND 20), count(*) FILTER (WHERE s.interval_days >= 21)
FROM today
JOIN item_stats s ON s.user_id = :user_id
WHERE today.monday BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
  AND (EXISTS (SELECT FROM item_days d WHERE d.user_id = :user_id AND d.day < today.monday + 7)
    OR EXISTS (SELECT FROM reviews r WHERE r.user_id = :user_id AND r.day < today.monday + 7))
GROUP BY today.monday, today.day
ORDER BY start;
