-- One row per learner and milestone: a length of a streak, a number of items learned or mastered, a goal met, a level
-- reached. The batch job writes the levels (see level_totals.sql), and the realtime fold everything else.
--
-- The number that a day has reached depends on no later day. The fold therefore keeps the milestones before the first
-- day that a window changes, and computes the later ones again from the days since.

-- table --
CREATE TABLE milestones (
    user_id    text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,  -- STREAK, ITEMS_LEARNED, ITEMS_MASTERED, GOAL_MET or LEVEL_REACHED
    value      bigint,                     -- study days, items, or the goal of the day; null: a level
    level      text COLLATE "C",           -- A1 … C2; only for LEVEL_REACHED
    reached_on date NOT NULL,              -- local
    UNIQUE NULLS NOT DISTINCT (user_id, kind, reached_on, value, level)
);

-- window --
-- The learners to whom the transaction has added milestones. No window empties it, because a refold follows its window.
CREATE TEMPORARY TABLE window_reached (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;

-- changed streaks --
-- The days on which the window may have changed the learner's milestones of a kind. A window rarely changes one. The
-- conditions therefore leave out the days on which no number is reached and no milestone is stored.
SELECT c.user_id, 'STREAK' AS kind, c.first_day, CAST('infinity' AS date) AS last_day, CAST(NULL AS bigint) AS number
    FROM (
        SELECT t.user_id, min(t.day) AS first_day
        FROM (
            SELECT w.user_id, w.day
            FROM window_days w
            LEFT JOIN LATERAL (
                SELECT d.sessions_completed FROM daily_stats d WHERE d.user_id = w.user_id AND d.day = w.day OFFSET 0
            ) now ON true
            WHERE w.sessions_completed <> 0
              AND coalesce(now.sessions_completed, 0) IN (0, w.sessions_completed)   -- it was or is no study day
            UNION ALL
            SELECT user_id, day FROM window_rest_days
        ) t
        GROUP BY t.user_id
    ) c
    WHERE EXISTS (   -- a run that may reach a length on a day since the first changed day
        SELECT
        FROM ({read_models/milestones runs}) r
        CROSS JOIN LATERAL (SELECT r.study_days - (r.ends - greatest(r.starts, c.first_day) + 1) AS days) before
        WHERE r.study_days / 365 > before.days / 365
           OR width_bucket(r.study_days, '{3,7,14,30,50,100,200}'::bigint[])
              > width_bucket(before.days, '{3,7,14,30,50,100,200}'::bigint[]))
       OR has_past AND EXISTS (
          SELECT
          FROM milestones m
          WHERE m.user_id = c.user_id AND m.kind = 'STREAK' AND m.reached_on >= c.first_day)

-- changed items --
-- `number` is the learner's number of items. An item that moves to another day changes the sums of the days between. A
-- new item changes all later sums.
SELECT c.user_id, c.kind, c.first_day, c.last_day, p.items AS number
    FROM (
        SELECT w.user_id, k.kind, min(w.day) AS first_day, sum(k.change)::bigint AS change,
            CASE WHEN sum(k.change) = 0 THEN max(w.day) ELSE 'infinity' END AS last_day
        FROM window_days w
        CROSS JOIN LATERAL (
            VALUES ('ITEMS_LEARNED', w.items_learned), ('ITEMS_MASTERED', w.new_mastery_count)
        ) k (kind, change)
        WHERE k.change <> 0
        GROUP BY w.user_id, k.kind
    ) c
    CROSS JOIN LATERAL (
        SELECT CASE c.kind WHEN 'ITEMS_LEARNED' THEN p.items_learned ELSE p.items_mastered END AS items
        FROM user_progress p
        WHERE p.user_id = c.user_id
        OFFSET 0
    ) p
    WHERE p.items / 1000 > (p.items - c.change) / 1000
       OR width_bucket(p.items, '{10,50,100,250,500}'::bigint[])
          > width_bucket(p.items - c.change, '{10,50,100,250,500}'::bigint[])
       OR has_past AND EXISTS (
          SELECT
          FROM milestones m
          WHERE m.user_id = c.user_id AND m.kind = c.kind AND m.reached_on BETWEEN c.first_day AND c.last_day)

-- changed days --
-- The days on which the answers of the window reach the goal in force, which is the `number`.
SELECT w.user_id, 'GOAL_MET' AS kind, w.day AS first_day, w.day AS last_day, g.answers_per_day AS number
    FROM window_days w
    CROSS JOIN LATERAL (
        SELECT g.answers_per_day
        FROM goals g
        WHERE g.user_id = w.user_id AND g.day <= w.day
        ORDER BY g.occurred_at DESC, g.event_id DESC
        LIMIT 1
    ) g
    CROSS JOIN LATERAL (
        SELECT d.answers FROM daily_stats d WHERE d.user_id = w.user_id AND d.day = w.day OFFSET 0
    ) now
    WHERE has_past AND w.answers > 0 AND g.answers_per_day > 0
      AND g.answers_per_day > now.answers - w.answers AND g.answers_per_day <= now.answers

-- changed goals --
-- A new goal is in force from its day until the day before the earliest day of a later goal.
SELECT g.user_id, 'GOAL_MET' AS kind, g.day AS first_day, coalesce(g.next_day - 1, 'infinity') AS last_day,
        g.answers_per_day AS number
    FROM (
        SELECT user_id, min(occurred_at) AS first_at FROM window_facts WHERE kind = 'goal' GROUP BY user_id
    ) w
    CROSS JOIN LATERAL (
        SELECT g.*, min(g.day) OVER (
            ORDER BY g.occurred_at DESC, g.event_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next_day
        FROM goals g
        WHERE g.user_id = w.user_id AND g.occurred_at >= w.first_at
        OFFSET 0
    ) g
    WHERE g.event_id IN (SELECT f.event_id FROM window_facts f WHERE f.kind = 'goal')

-- runs --
-- The runs that end on the day c.first_day or later.
SELECT s.starts, s.ends, s.study_days
        FROM learning_streaks s
        WHERE s.user_id = c.user_id AND s.ends >= c.first_day AND s.starts >= coalesce((
            SELECT f.starts
            FROM learning_streaks f
            WHERE f.user_id = c.user_id AND f.starts <= c.first_day
            ORDER BY f.starts DESC
            LIMIT 1), c.first_day)
        OFFSET 0

-- fold --
-- Ask first whether the window may change a milestone, in small questions, because starting a large statement takes
-- longer than folding an event.
DECLARE
    may_change boolean := EXISTS (SELECT FROM window_facts WHERE kind = 'goal')
        OR EXISTS ({read_models/milestones changed days});
BEGIN
IF NOT may_change AND EXISTS (SELECT FROM window_days WHERE items_learned <> 0 OR new_mastery_count <> 0) THEN
    may_change := EXISTS ({read_models/milestones changed items});
END IF;
IF NOT may_change AND (
    EXISTS (SELECT FROM window_days WHERE sessions_completed <> 0) OR EXISTS (SELECT FROM window_rest_days)
) THEN
    may_change := EXISTS ({read_models/milestones changed streaks});
END IF;
IF may_change THEN
WITH changed AS MATERIALIZED (
    {read_models/milestones changed streaks}
    UNION ALL
    {read_models/milestones changed items}
    UNION ALL
    {read_models/milestones changed days}
    UNION ALL
    {read_models/milestones changed goals}
), studied AS (   -- each study day, with its place in its run
    SELECT c.user_id, c.first_day, d.day,
        r.study_days + 1 - row_number() OVER (PARTITION BY c.user_id, r.starts ORDER BY d.day DESC) AS place
    FROM changed c
    CROSS JOIN LATERAL ({read_models/milestones runs}) r
    CROSS JOIN LATERAL (
        SELECT d.day
        FROM daily_stats d
        WHERE d.user_id = c.user_id AND d.day BETWEEN greatest(r.starts, c.first_day) AND r.ends
          AND d.sessions_completed > 0
        OFFSET 0
    ) d
    WHERE c.kind = 'STREAK'
), counted AS (   -- each day with new items, with the number of items up to this day
    SELECT c.user_id, c.kind, c.last_day, d.day, d.items,
        (c.number + d.items - sum(d.items) OVER (PARTITION BY c.user_id, c.kind ORDER BY d.day DESC))::bigint AS total
    FROM changed c
    CROSS JOIN LATERAL (
        SELECT d.day, CASE c.kind WHEN 'ITEMS_LEARNED' THEN d.items_learned ELSE d.new_mastery_count END AS items
        FROM daily_stats d
        WHERE d.user_id = c.user_id AND d.day >= c.first_day
        OFFSET 0
    ) d
    WHERE c.kind IN ('ITEMS_LEARNED', 'ITEMS_MASTERED') AND d.items > 0
), reached AS MATERIALIZED (
    SELECT s.user_id, 'STREAK' AS kind, s.place AS value, min(s.day) AS reached_on
    FROM studied s
    WHERE (s.place IN (3, 7, 14, 30, 50, 100, 200) OR s.place % 365 = 0)
      AND NOT EXISTS (
          SELECT
          FROM milestones m
          WHERE has_past AND m.user_id = s.user_id AND m.kind = 'STREAK' AND m.value = s.place
            AND m.reached_on < s.first_day
          OFFSET 0)
    GROUP BY s.user_id, s.place
    UNION ALL
    SELECT c.user_id, c.kind, v.value, c.day
    FROM counted c
    CROSS JOIN LATERAL (
        VALUES (10), (50), (100), (250), (500)
        UNION ALL
        SELECT generate_series(c.total - c.total % 1000, c.total - c.items + 1, -1000)
    ) v (value)
    WHERE v.value BETWEEN c.total - c.items + 1 AND c.total AND c.day <= c.last_day
    UNION ALL
    SELECT DISTINCT c.user_id, c.kind, c.number, d.day
    FROM changed c
    CROSS JOIN LATERAL (
        SELECT d.day, d.answers
        FROM daily_stats d
        WHERE d.user_id = c.user_id AND d.day BETWEEN c.first_day AND c.last_day
        OFFSET 0
    ) d
    WHERE c.kind = 'GOAL_MET' AND c.number > 0 AND d.answers >= c.number
), gone AS (
    DELETE FROM milestones
    WHERE ctid = ANY (ARRAY(
        SELECT m.ctid
        FROM changed c
        CROSS JOIN LATERAL (
            SELECT m.ctid, m.value, m.reached_on
            FROM milestones m
            WHERE has_past
              AND m.user_id = c.user_id AND m.kind = c.kind AND m.reached_on BETWEEN c.first_day AND c.last_day
            OFFSET 0
        ) m
        WHERE NOT EXISTS (
            SELECT
            FROM reached r
            WHERE r.user_id = c.user_id AND r.kind = c.kind AND r.value = m.value AND r.reached_on = m.reached_on)))
), added AS (
    INSERT INTO milestones (user_id, kind, value, reached_on)
    SELECT r.user_id, r.kind, r.value, r.reached_on
    FROM reached r
    WHERE NOT EXISTS (
        SELECT
        FROM milestones m
        WHERE has_past AND m.user_id = r.user_id AND m.kind = r.kind AND m.value = r.value
          AND m.reached_on = r.reached_on
        OFFSET 0)
    ORDER BY r.user_id, r.kind, r.reached_on
    RETURNING user_id
)
INSERT INTO window_reached SELECT DISTINCT user_id FROM added;
END IF;
END;

-- definition --
WITH studied AS (
    SELECT user_id, day, row_number() OVER (PARTITION BY user_id, run ORDER BY day) AS place
    FROM (
        SELECT d.user_id, d.day, count(s.starts) OVER (PARTITION BY d.user_id ORDER BY d.day) AS run
        FROM daily_stats d
        LEFT JOIN learning_streaks s ON s.user_id = d.user_id AND s.starts = d.day
        WHERE d.sessions_completed > 0
    ) days
), counted AS (
    SELECT user_id, 'ITEMS_LEARNED' AS kind, first_correct_on AS day,
        row_number() OVER (PARTITION BY user_id ORDER BY first_correct_on) AS place
    FROM item_stats
    WHERE first_correct_on IS NOT NULL
    UNION ALL
    SELECT user_id, 'ITEMS_MASTERED', first_mastered_on,
        row_number() OVER (PARTITION BY user_id ORDER BY first_mastered_on)
    FROM item_stats
    WHERE first_mastered_on IS NOT NULL
), in_force AS (
    SELECT user_id, answers_per_day, day AS first_day, min(day) OVER (PARTITION BY user_id
        ORDER BY occurred_at DESC, event_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS next_day
    FROM goals
), totals AS (
    SELECT l.user_id, c.name AS level, CAST(sum(c.items) AS bigint) AS items
    FROM catalogue_shares l
    JOIN catalogue_counts c ON c.kind = 'level' AND c.language = l.name
    WHERE l.kind = 'language'
    GROUP BY l.user_id, c.name
), mastered AS (
    SELECT s.user_id, p.name AS level, s.first_mastered_on AS day, c.items,
        row_number() OVER (PARTITION BY s.user_id, p.name ORDER BY s.first_mastered_on) AS place,
        count(*) FILTER (WHERE s.interval_days >= 7) OVER (PARTITION BY s.user_id, p.name) AS items_now
    FROM item_stats s
    JOIN item_places p ON p.item_id = s.item_id AND p.kind = 'level' AND p.in_catalogue
    JOIN totals c ON c.user_id = s.user_id AND c.level = p.name
    WHERE s.first_mastered_on IS NOT NULL
)
SELECT user_id, 'STREAK' AS kind, place AS value, CAST(NULL AS text) AS level, min(day) AS reached_on
FROM studied
WHERE place IN (3, 7, 14, 30, 50, 100, 200) OR place % 365 = 0
GROUP BY user_id, place
UNION ALL
SELECT user_id, kind, place, NULL, day
FROM counted
WHERE place IN (10, 50, 100, 250, 500) OR place % 1000 = 0
UNION ALL
SELECT d.user_id, 'GOAL_MET', g.answers_per_day, NULL, d.day
FROM daily_stats d
JOIN in_force g ON g.user_id = d.user_id AND g.first_day <= d.day AND (g.next_day IS NULL OR g.next_day > d.day)
WHERE g.answers_per_day > 0 AND d.answers >= g.answers_per_day
UNION ALL
-- The place is 80 % of the items, rounded up.
SELECT user_id, 'LEVEL_REACHED', NULL, level, day
FROM mastered
WHERE 5 * items_now >= 4 * items AND 5 * place BETWEEN 4 * items AND 4 * items + 4

-- reset_learners --
DELETE FROM milestones WHERE user_id = ANY (learners) AND kind <> 'LEVEL_REACHED';

-- list --
-- One page of the milestones of these kinds, newest first; without kinds, of all. The page begins after the given key,
-- even if the milestone with this key has vanished. Each row also has the number of all milestones of the list.
WITH listed AS (
    SELECT m.kind, m.value, m.level, m.reached_on, {read_models/milestones sort_key} AS sort_key
    FROM milestones m
    WHERE m.user_id = :user_id AND (CAST(:kinds AS text[]) IS NULL OR m.kind = ANY (CAST(:kinds AS text[])))
),
page AS (
    SELECT l.*
    FROM listed l
    LEFT JOIN (
        SELECT CAST(:after_day AS date) AS reached_on, CAST(:after_kind AS text) AS kind,
            CAST(:after_level AS text) AS level, CAST(:after_value AS bigint) AS value
    ) AS m ON TRUE
    WHERE m.reached_on IS NULL OR l.sort_key > {read_models/milestones sort_key}
    ORDER BY l.sort_key
    LIMIT CAST(:first AS bigint)
)
SELECT total.milestones AS total_count, p.kind, p.value, p.level, p.reached_on
FROM (SELECT count(*) AS milestones FROM listed) AS total
LEFT JOIN page p ON TRUE
ORDER BY p.sort_key;

-- sort_key --
-- The place of a milestone m in the list: the newest day first, then by kind, level and value, the largest value first.
ROW(DATE '2000-01-01' - m.reached_on,
        array_position(ARRAY['STREAK', 'ITEMS_LEARNED', 'ITEMS_MASTERED', 'GOAL_MET', 'LEVEL_REACHED'], m.kind),
        coalesce(m.level, '') COLLATE "C", - coalesce(m.value, 0))

-- export milestones --
COPY (
    SELECT reached_on AS date, kind, value, level
    FROM milestones m
    WHERE user_id = current_setting('export.learner')
    ORDER BY {read_models/milestones sort_key}
) TO STDOUT (FORMAT csv, HEADER);
