-- One row per learner and milestone: a length of a streak, a number of items learned or mastered, a goal met, a level
-- reached. Each kind has its own definition. The batch job writes the levels (see level_totals.sql), and the realtime
-- folds everything else.
--
-- A window rarely changes a milestone. The conditions `changed` therefore leave out the learners whose numbers reach
-- nothing new, and who reached nothing on the changed days. Learners who are folded again are always judged.

-- name --
-- The definition of what milestones stand on. Change this text with the definition: the first build then tells nothing
-- that was reached before it.
'a day with an answer or a completed session is a study day; a level has items of the kinds that the learner met'

-- table --
CREATE TABLE milestones (
    user_id    text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,  -- STREAK, ITEMS_LEARNED, ITEMS_MASTERED, GOAL_MET or LEVEL_REACHED
    value      bigint,                     -- number of study days, items, or answers of the goal; null: a level
    level      text COLLATE "C",           -- CEFR level, A1 to C2; only of LEVEL_REACHED
    reached_on date NOT NULL,              -- local day on which it was reached
    UNIQUE NULLS NOT DISTINCT (user_id, kind, reached_on, value, level)
);
-- A schema that nobody builds is the first of its log, and replaces no other definition.
INSERT INTO event_store.milestone_definitions (definition)
SELECT {read_models/milestones name} WHERE current_schema() NOT LIKE '%\_building'
ON CONFLICT DO NOTHING;

-- window --
-- The learners to whom the transaction has added milestones. No window empties it, because a refold follows its window.
CREATE TEMPORARY TABLE window_reached (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;

-- tell --
INSERT INTO window_reached SELECT DISTINCT user_id FROM added

-- changed streaks --
-- The learners who gain or lose a study day or a rest day, if a run may reach a length since the first of these days,
-- or reached one. A run has at least `days` study days before this day.
SELECT t.user_id
FROM (SELECT user_id, min(day) AS day FROM ({read_models/learning_streaks turned}) d GROUP BY user_id) t
WHERE NOT has_past
   OR EXISTS (
      SELECT
      FROM milestones m
      WHERE m.user_id = t.user_id AND m.kind = 'STREAK' AND m.reached_on >= t.day)
   OR EXISTS (
      SELECT
      FROM learning_streaks s
      CROSS JOIN LATERAL (SELECT s.study_days - (s.ends - greatest(s.starts, t.day) + 1) AS days) before
      WHERE s.user_id = t.user_id AND s.starts >= coalesce((
              SELECT max(f.starts) FROM learning_streaks f WHERE f.user_id = t.user_id AND f.starts <= t.day), t.day)
        AND (s.study_days / 365 > before.days / 365
          OR width_bucket(s.study_days, '{3,7,14,30,50,100,200}'::bigint[])
             > width_bucket(before.days, '{3,7,14,30,50,100,200}'::bigint[])))
UNION
SELECT user_id FROM window_refolded

-- replaced streaks --
t.kind = 'STREAK'

-- streaks --
SELECT user_id, 'STREAK' AS kind, place AS value, CAST(NULL AS text) AS level, min(day) AS reached_on
FROM (
    SELECT user_id, day, row_number() OVER (PARTITION BY user_id, run ORDER BY day) AS place
    FROM (
        SELECT d.user_id, d.day, count(s.starts) OVER (PARTITION BY d.user_id ORDER BY d.day) AS run
        FROM daily_stats d
        LEFT JOIN learning_streaks s ON s.user_id = d.user_id AND s.starts = d.day
        WHERE {read_models/daily_stats is_study_day}
    ) days
) studied
WHERE place IN (3, 7, 14, 30, 50, 100, 200) OR place % 365 = 0
GROUP BY user_id, place

-- changed items --
-- The learners whose number of items reaches a value, or who reached one on a day whose number changes. A day's new
-- item changes the numbers since this day, and who reached a value on the same day still does so. An item that moves to
-- another day changes the numbers between both.
SELECT c.user_id
FROM (
    SELECT w.user_id, k.kind, sum(k.change)::bigint AS change,
        min(w.day + CASE WHEN k.change > 0 THEN 1 ELSE 0 END) AS first_day,
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
WHERE NOT has_past
   OR p.items / 1000 > (p.items - c.change) / 1000
   OR width_bucket(p.items, '{10,50,100,250,500}'::bigint[])
      > width_bucket(p.items - c.change, '{10,50,100,250,500}'::bigint[])
   OR EXISTS (
      SELECT
      FROM milestones m
      WHERE m.user_id = c.user_id AND m.kind = c.kind AND m.reached_on BETWEEN c.first_day AND c.last_day)
UNION
SELECT user_id FROM window_refolded

-- replaced items --
t.kind IN ('ITEMS_LEARNED', 'ITEMS_MASTERED')

-- items --
SELECT c.user_id, c.kind, CAST(v.value AS bigint) AS value, CAST(NULL AS text) AS level, c.day AS reached_on
FROM (
    SELECT user_id, kind, day, total - items AS before, total
    FROM (
        SELECT user_id, kind, day, items,
            CAST(sum(items) OVER (PARTITION BY user_id, kind ORDER BY day) AS bigint) AS total
        FROM (
            SELECT user_id, 'ITEMS_LEARNED' AS kind, day, items_learned AS items FROM daily_stats
            UNION ALL
            SELECT user_id, 'ITEMS_MASTERED', day, new_mastery_count FROM daily_stats
        ) days
        WHERE items > 0
    ) sums
) c
CROSS JOIN LATERAL (
    SELECT n.value
    FROM (VALUES (10), (50), (100), (250), (500)) AS n (value)
    WHERE n.value > c.before AND n.value <= c.total
    UNION ALL
    SELECT n.value
    FROM generate_series(c.before - c.before % 1000 + 1000, c.total, 1000) AS n (value)
) v

-- changed goals --
-- The learners with a new goal, which may be in force from its day on, and those whose answers on a day reach the goal
-- in force; the days on which they may meet a goal now, or do so no more.
SELECT user_id, min(first_day) AS first_day, max(last_day) AS last_day
FROM (
    SELECT user_id, day AS first_day, date 'infinity' AS last_day
    FROM window_facts
    WHERE kind = 'goal'
    UNION ALL
    SELECT user_id, '-infinity', 'infinity' FROM window_refolded
    UNION ALL
    SELECT w.user_id, w.day, w.day
    FROM window_days w
    CROSS JOIN LATERAL (
        SELECT g.answers_per_day
        FROM goals g
        WHERE g.user_id = w.user_id AND g.day <= w.day
        ORDER BY g.occurred_at DESC, g.event_id DESC
        LIMIT 1
    ) g
    LEFT JOIN LATERAL (
        SELECT d.answers FROM daily_stats d WHERE d.user_id = w.user_id AND d.day = w.day OFFSET 0
    ) d ON true
    CROSS JOIN LATERAL (SELECT coalesce(d.answers, 0) AS answers) now
    WHERE has_past AND w.answers <> 0 AND g.answers_per_day > least(now.answers, now.answers - w.answers)
      AND g.answers_per_day <= greatest(now.answers, now.answers - w.answers)
) g
GROUP BY user_id

-- replaced goals --
t.kind = 'GOAL_MET' AND t.reached_on BETWEEN c.first_day AND c.last_day

-- read goals --
WITH daily_stats AS NOT MATERIALIZED (
    SELECT * FROM daily_stats WHERE user_id = c.user_id AND day BETWEEN c.first_day AND c.last_day
)

-- goals --
SELECT d.user_id, 'GOAL_MET' AS kind, g.answers_per_day AS value, CAST(NULL AS text) AS level, d.day AS reached_on
FROM daily_stats d
JOIN (
    {read_models/goals in_force}
) g ON g.user_id = d.user_id AND g.first_day <= d.day AND (g.next_day IS NULL OR g.next_day > d.day)
WHERE g.answers_per_day > 0 AND d.answers >= g.answers_per_day

-- replaced levels --
t.kind = 'LEVEL_REACHED'

-- read levels --
WITH item_places AS NOT MATERIALIZED (
    SELECT item_id, in_catalogue, 'level' AS kind, level AS name FROM items
)

-- tell levels --
INSERT INTO batch_reached SELECT DISTINCT user_id FROM added

-- levels --
-- The place is 80 % of the items, rounded up.
WITH reached AS (
    SELECT s.user_id, s.name AS level, t.items
    FROM (
        SELECT user_id, name, sum(mastered_in_catalogue) AS mastered
        FROM catalogue_shares
        WHERE kind = 'level'
        GROUP BY user_id, name
    ) s
    JOIN (
        SELECT l.user_id, c.name AS level, CAST(sum(c.items) AS bigint) AS items
        FROM catalogue_shares l
        JOIN catalogue_counts c ON c.kind = 'level' AND c.language = l.language AND c.item_kind = l.name
        WHERE l.kind = 'language'
        GROUP BY l.user_id, c.name
    ) t ON t.user_id = s.user_id AND t.level = s.name
    WHERE 5 * s.mastered >= 4 * t.items
), mastered AS (
    SELECT r.user_id, r.level, r.items, s.first_mastered_on AS day,
        row_number() OVER (PARTITION BY r.user_id, r.level ORDER BY s.first_mastered_on) AS place
    FROM reached r
    JOIN item_stats s ON s.user_id = r.user_id
    JOIN item_places p ON p.item_id = s.item_id AND p.kind = 'level' AND p.name = r.level AND p.in_catalogue
    WHERE s.first_mastered_on IS NOT NULL
)
SELECT user_id, 'LEVEL_REACHED' AS kind, CAST(NULL AS bigint) AS value, level, day AS reached_on
FROM mastered
WHERE 5 * place BETWEEN 4 * items AND 4 * items + 4

-- definition --
SELECT * FROM (
{read_models/milestones streaks}
) s
UNION ALL
SELECT * FROM (
{read_models/milestones items}
) i
UNION ALL
SELECT * FROM (
{read_models/milestones goals}
) g
UNION ALL
SELECT * FROM (
{read_models/milestones levels}
) l

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
        SELECT CAST(:after_reached_on AS date) AS reached_on, CAST(:after_kind AS text) AS kind,
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
