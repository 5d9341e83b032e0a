-- One row for each domain and language, and for each level and language, that has items in the catalogue. The sum over
-- a learner's languages is the denominator of the shares in domain_stats and level_stats.

-- table --
CREATE TABLE catalogue_counts (
    kind  text COLLATE "C" NOT NULL,       -- domain or level
    name  text COLLATE "C" NOT NULL,       -- R W L S, A1 … C2; never UNKNOWN
    language text COLLATE "C" NOT NULL,    -- see primary_language in items.sql
    items bigint NOT NULL,                 -- greater than 0
    PRIMARY KEY (kind, name, language)
);

-- counted --
SELECT 'level' AS kind, i.level AS name, {read_models/items primary_language} AS language, count(*) AS items
    FROM items i
    WHERE i.in_catalogue AND i.level IS NOT NULL
    GROUP BY 2, 3
    UNION ALL
    SELECT 'domain', domain, {read_models/items primary_language}, count(*)
    FROM items i
    CROSS JOIN LATERAL unnest(i.domains) AS domain
    WHERE i.in_catalogue
    GROUP BY 2, 3

-- fold --
WITH counted AS MATERIALIZED (
    {read_models/catalogue_counts counted}
), gone AS (
    DELETE FROM catalogue_counts t
    WHERE EXISTS (SELECT FROM batch_items)
      AND NOT EXISTS (SELECT FROM counted c WHERE c.kind = t.kind AND c.name = t.name AND c.language = t.language)
)
INSERT INTO catalogue_counts AS t
SELECT kind, name, language, items
FROM counted
WHERE EXISTS (SELECT FROM batch_items)
ORDER BY kind, name, language
ON CONFLICT (kind, name, language) DO UPDATE SET items = excluded.items
WHERE t.items <> excluded.items;

-- definition --
-- The items are first counted for each combination of level, domains and language, because few combinations exist.
SELECT p.kind, p.name, {read_models/items primary_language} AS language, CAST(sum(i.items) AS bigint) AS items
FROM (
    SELECT level, domains, language, count(*) AS items
    FROM items
    WHERE in_catalogue
    GROUP BY level, domains, language
) AS i
CROSS JOIN LATERAL (
    SELECT 'level' AS kind, i.level AS name WHERE i.level IS NOT NULL
    UNION ALL
    SELECT 'domain', d.name
    FROM (VALUES ('R'), ('W'), ('L'), ('S')) AS d (name)
    WHERE i.domains LIKE '%' || d.name || '%'
) AS p
GROUP BY p.kind, p.name, {read_models/items primary_language}

-- in_languages --
-- True if the items of a row c are in one of the languages of the row `learner`, as of the last batch run. A learner
-- who has met no described item has all languages.
(EXISTS (SELECT FROM catalogue_shares l
             WHERE l.user_id = learner.user_id AND l.kind = 'language' AND l.name = c.language)
        OR NOT EXISTS (SELECT FROM catalogue_shares l WHERE l.user_id = learner.user_id AND l.kind = 'language'))

-- totals --
-- The numbers of the catalogue's items in the languages of each row of `learner`, by kind and name.
SELECT learner.user_id, c.kind, c.name, CAST(sum(c.items) AS bigint) AS items
    FROM learner
    CROSS JOIN catalogue_counts c
    WHERE {read_models/catalogue_counts in_languages}
    GROUP BY learner.user_id, c.kind, c.name
