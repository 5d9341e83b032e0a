-- One row per learner, level, language and local day: the number of items that the learner mastered for the first time
-- on this day. An item counts only if it is in the catalogue and still mastered. level_stats computes the learner's
-- pace from these rows.

-- table --
CREATE TABLE mastery_days (
    user_id text COLLATE "C" NOT NULL,
    level   text COLLATE "C" NOT NULL,     -- A1 … C2; never UNKNOWN
    language text COLLATE "C" NOT NULL,    -- see primary_language in items.sql
    day     date   NOT NULL,               -- the day of the first review with an interval of 7 days or more
    items   bigint NOT NULL,               -- greater than 0
    PRIMARY KEY (user_id, day, level, language)
);

-- fold --
WITH mastered AS MATERIALIZED (
    SELECT s.user_id, i.level, {read_models/items primary_language} AS language, s.first_mastered_on AS day,
        count(*) AS items
    FROM batch_learners b
    JOIN item_stats s ON s.user_id = b.user_id
    JOIN items i ON i.item_id = s.item_id
    WHERE s.interval_days >= 7 AND i.in_catalogue AND i.level IS NOT NULL
    GROUP BY 1, 2, 3, 4
), gone AS (
    DELETE FROM mastery_days t
    USING batch_learners b
    WHERE t.user_id = b.user_id
      AND NOT EXISTS (
          SELECT FROM mastered m
          WHERE m.user_id = t.user_id AND m.day = t.day AND m.level = t.level AND m.language = t.language)
)
INSERT INTO mastery_days AS t
SELECT user_id, level, language, day, items
FROM mastered
ORDER BY user_id, day, level, language
ON CONFLICT (user_id, day, level, language) DO UPDATE SET items = excluded.items
WHERE t.items <> excluded.items;

-- definition --
SELECT s.user_id, p.name AS level, p.language, s.first_mastered_on AS day, count(*) AS items
FROM item_stats s
JOIN item_places p ON p.item_id = s.item_id AND p.kind = 'level'
WHERE s.interval_days >= 7 AND p.in_catalogue AND p.name <> 'UNKNOWN'
GROUP BY s.user_id, p.name, p.language, s.first_mastered_on
