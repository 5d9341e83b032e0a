-- The batch part of `milestones`: the rows of the kind LEVEL_REACHED. A level is reached while at least 80 % of its
-- items in the catalogue, in the learner's languages, are mastered. level_totals has one row per shard, level and
-- language: the number of these items from which the rows of the shard's learners were computed. If this number
-- changes, learners of the language without new events may reach or lose the level.

-- table --
CREATE TABLE level_totals (
    shard    smallint NOT NULL,
    level    text COLLATE "C" NOT NULL,    -- A1 … C2
    language text COLLATE "C" NOT NULL,    -- see primary_language in items.sql
    items    bigint NOT NULL,              -- greater than 0
    PRIMARY KEY (shard, level, language)
);

-- With this index, the batch job finds the learners who mastered enough items of a level.
CREATE INDEX catalogue_shares_by_mastery ON catalogue_shares (name, mastered_in_catalogue) WHERE kind = 'level';

-- fold --
-- Add the learners of a language who reached a level before or reach it now, because its number of items in the
-- language changed. They mastered at least as many items of the level as 80 % of its items in this language.
WITH counted AS (
    SELECT s.shard, c.name AS level, c.language, c.items
    FROM catalogue_counts c
    CROSS JOIN unnest(shards) AS s (shard)
    WHERE c.kind = 'level'
), differing AS MATERIALIZED (
    SELECT shard, level, language, coalesce(t.items, 0) AS had, coalesce(c.items, 0) AS has
    FROM (SELECT * FROM level_totals WHERE shard = ANY (shards)) t
    FULL JOIN counted c USING (shard, level, language)
    WHERE t.items IS DISTINCT FROM c.items
), gone AS (
    DELETE FROM level_totals t
    USING differing d
    WHERE t.shard = d.shard AND t.level = d.level AND t.language = d.language AND d.has = 0
), kept AS (
    INSERT INTO level_totals
    SELECT shard, level, language, has FROM differing WHERE has > 0
    ON CONFLICT (shard, level, language) DO UPDATE SET items = excluded.items
)
INSERT INTO batch_learners
SELECT s.user_id, date 'infinity'
FROM (
    SELECT level, language, min(least(had, has)) AS items, array_agg(shard) AS shards
    FROM differing
    GROUP BY level, language
) d
CROSS JOIN LATERAL (
    SELECT s.user_id
    FROM catalogue_shares s
    JOIN catalogue_shares l ON l.user_id = s.user_id AND l.kind = 'language' AND l.name = d.language
    WHERE s.kind = 'level' AND s.name = d.level AND s.mastered_in_catalogue >= greatest(1, (4 * d.items + 4) / 5)
    OFFSET 0
) s
WHERE event_store.shard_of('learner-' || s.user_id) = ANY (d.shards)
ON CONFLICT DO NOTHING;

WITH reached AS MATERIALIZED (
    SELECT s.user_id, s.name AS level, m.day
    FROM batch_learners b
    JOIN catalogue_shares s ON s.user_id = b.user_id AND s.kind = 'level'
    CROSS JOIN LATERAL (
        SELECT CAST(sum(c.items) AS bigint) AS items
        FROM catalogue_counts c
        JOIN catalogue_shares l ON l.user_id = s.user_id AND l.kind = 'language' AND l.name = c.language
        WHERE c.kind = 'level' AND c.name = s.name
    ) c
    CROSS JOIN LATERAL (
        SELECT i.first_mastered_on AS day
        FROM item_stats i
        JOIN items d ON d.item_id = i.item_id AND d.in_catalogue AND d.level = s.name
        WHERE i.user_id = s.user_id AND i.first_mastered_on IS NOT NULL
        ORDER BY i.first_mastered_on
        OFFSET (4 * c.items + 4) / 5 - 1   -- 80 %, rounded up
        LIMIT 1
    ) m
    WHERE 5 * s.mastered_in_catalogue >= 4 * c.items
), gone AS (
    DELETE FROM milestones m
    USING batch_learners b
    WHERE m.user_id = b.user_id AND m.kind = 'LEVEL_REACHED'
      AND NOT EXISTS (
          SELECT FROM reached r WHERE r.user_id = m.user_id AND r.level = m.level AND r.day = m.reached_on)
), added AS (
    INSERT INTO milestones (user_id, kind, level, reached_on)
    SELECT r.user_id, 'LEVEL_REACHED', r.level, r.day
    FROM reached r
    WHERE NOT EXISTS (
        SELECT
        FROM milestones m
        WHERE m.user_id = r.user_id AND m.kind = 'LEVEL_REACHED' AND m.level = r.level AND m.reached_on = r.day)
    ORDER BY r.user_id, r.level
    RETURNING user_id
)
INSERT INTO batch_reached SELECT DISTINCT user_id FROM added;

-- definition --
SELECT CAST(s.shard AS smallint) AS shard, c.name AS level, c.language, c.items
FROM catalogue_counts c
CROSS JOIN generate_series(0, 15) AS s (shard)
WHERE c.kind = 'level'

-- delete_learners --
DELETE FROM milestones WHERE user_id = ANY (learners) AND kind = 'LEVEL_REACHED';
