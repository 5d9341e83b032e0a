-- The batch part of `milestones`: the rows of the kind LEVEL_REACHED. A level is reached while at least 80 % of its
-- items in the catalogue, in the learner's pairs of language and kind, are mastered. level_totals has one row per
-- shard, level and pair: the number of these items from which the rows of the shard's learners were computed. If this
-- number changes, learners of the pair without new events may reach or lose the level.

-- table --
CREATE TABLE level_totals (
    shard    smallint NOT NULL,
    level    text COLLATE "C" NOT NULL,    -- A1 … C2
    language text COLLATE "C" NOT NULL,    -- see primary_language in items.sql
    item_kind text COLLATE "C" NOT NULL,   -- as in catalogue_counts
    items    bigint NOT NULL,              -- greater than 0
    PRIMARY KEY (shard, level, language, item_kind)
);

-- With this index, the batch job finds the learners who mastered enough items of a level in a language.
CREATE INDEX catalogue_shares_by_mastery ON catalogue_shares (name, language, mastered_in_catalogue)
WHERE kind = 'level';

-- fold --
-- Add the learners of a pair who reached a level before or reach it now, because its number of items in the pair
-- changed. Whoever masters 80 % of a level's items in several pairs does so in at least one language: of its items in
-- the learner's pairs, which are at least those of the changed pair or, in another language, of its smallest pair.
WITH counted AS (
    SELECT s.shard, c.name AS level, c.language, c.item_kind, c.items
    FROM catalogue_counts c
    CROSS JOIN unnest(shards) AS s (shard)
    WHERE c.kind = 'level'
), compared AS MATERIALIZED (
    SELECT shard, level, language, item_kind, coalesce(t.items, 0) AS had, coalesce(c.items, 0) AS has
    FROM (SELECT * FROM level_totals WHERE shard = ANY (shards)) t
    FULL JOIN counted c USING (shard, level, language, item_kind)
), differing AS MATERIALIZED (
    SELECT * FROM compared WHERE had <> has
), gone AS (
    DELETE FROM level_totals t
    USING differing d
    WHERE t.shard = d.shard AND t.level = d.level AND t.language = d.language AND t.item_kind = d.item_kind
      AND d.has = 0
), kept AS (
    INSERT INTO level_totals
    SELECT shard, level, language, item_kind, has FROM differing WHERE has > 0
    ON CONFLICT (shard, level, language, item_kind) DO UPDATE SET items = excluded.items
)
INSERT INTO batch_learners
SELECT s.user_id, date 'infinity'
FROM (
    SELECT level, language, item_kind, array_agg(shard) AS shards, min(least(had, has)) AS items
    FROM differing
    GROUP BY level, language, item_kind
) d
JOIN (
    SELECT level, language, min(least(had, has)) AS items
    FROM compared
    GROUP BY level, language
) c ON c.level = d.level
CROSS JOIN LATERAL (
    SELECT s.user_id
    FROM catalogue_shares s
    JOIN catalogue_shares l ON l.user_id = s.user_id AND l.kind = 'language' AND l.name = d.item_kind
        AND l.language = d.language
    WHERE s.kind = 'level' AND s.name = d.level AND s.language = c.language
      AND s.mastered_in_catalogue >= greatest(
          1, (4 * CASE WHEN c.language = d.language THEN d.items ELSE c.items END + 4) / 5)
    OFFSET 0
) s
WHERE event_store.shard_of('learner-' || s.user_id) = ANY (d.shards)
ON CONFLICT DO NOTHING;

{reached_levels}

-- judged --
-- The learners of the run: those with new events, of changed items, and of the levels above.
SELECT user_id FROM batch_learners

-- definition --
SELECT CAST(s.shard AS smallint) AS shard, c.name AS level, c.language, c.item_kind, c.items
FROM catalogue_counts c
CROSS JOIN generate_series(0, 15) AS s (shard)
WHERE c.kind = 'level'

-- delete_learners --
DELETE FROM milestones WHERE user_id = ANY (learners) AND kind = 'LEVEL_REACHED';
