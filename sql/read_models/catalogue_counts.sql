-- One row for each domain and pair of language and kind, and for each level and pair, that has items in the catalogue.
-- The sum over a learner's pairs is the denominator of the shares in domain_stats and level_stats.

-- table --
CREATE TABLE catalogue_counts (
    kind  text COLLATE "C" NOT NULL,       -- domain or level
    name  text COLLATE "C" NOT NULL,       -- R W L S, A1 … C2; never UNKNOWN
    language text COLLATE "C" NOT NULL,    -- see primary_language in items.sql
    item_kind text COLLATE "C" NOT NULL,   -- what tells the cards of one word apart; empty: not known
    items bigint NOT NULL,                 -- greater than 0
    PRIMARY KEY (kind, name, language, item_kind)
);

-- fold --
WITH counted AS MATERIALIZED (
    {read_models/catalogue_counts definition}
), gone AS (
    DELETE FROM catalogue_counts t
    WHERE EXISTS (SELECT FROM batch_items)
      AND NOT EXISTS (
          SELECT FROM counted c
          WHERE c.kind = t.kind AND c.name = t.name AND c.language = t.language AND c.item_kind = t.item_kind)
)
INSERT INTO catalogue_counts AS t
SELECT kind, name, language, item_kind, items
FROM counted
WHERE EXISTS (SELECT FROM batch_items)
ORDER BY kind, name, language, item_kind
ON CONFLICT (kind, name, language, item_kind) DO UPDATE SET items = excluded.items
WHERE t.items <> excluded.items;

-- definition --
SELECT kind, name, language, item_kind, CAST(sum(size) AS bigint) AS items
    FROM catalogue_sizes
    WHERE kind IN ('level', 'domain')
    GROUP BY kind, name, language, item_kind
    HAVING sum(size) > 0

-- in_pairs --
-- True if the items of a row c are of one of the pairs of language and kind of the row `learner`, as of the last batch
-- run. A learner who has met no described item has all pairs.
(EXISTS (SELECT FROM catalogue_shares l
             WHERE l.user_id = learner.user_id AND l.kind = 'language' AND l.name = c.item_kind
               AND l.language = c.language)
        OR NOT EXISTS (SELECT FROM catalogue_shares l WHERE l.user_id = learner.user_id AND l.kind = 'language'))

-- totals --
-- The numbers of the catalogue's items in the pairs of each row of `learner`, by kind and name.
SELECT learner.user_id, c.kind, c.name, CAST(sum(c.items) AS bigint) AS items
    FROM learner
    CROSS JOIN catalogue_counts c
    WHERE {read_models/catalogue_counts in_pairs}
    GROUP BY learner.user_id, c.kind, c.name
