-- One row for each domain and each level that has items in the catalogue. The number of these items is the denominator
-- of the shares in domain_stats and level_stats.

-- table --
CREATE TABLE catalogue_counts (
    kind  text COLLATE "C" NOT NULL,       -- domain or level
    name  text COLLATE "C" NOT NULL,       -- R W L S, A1 … C2; never UNKNOWN
    items bigint NOT NULL,                 -- greater than 0
    PRIMARY KEY (kind, name)
);

-- counted --
SELECT 'level' AS kind, level AS name, count(*) AS items
    FROM items
    WHERE in_catalogue AND level IS NOT NULL
    GROUP BY level
    UNION ALL
    SELECT 'domain', domain, count(*)
    FROM items
    CROSS JOIN LATERAL unnest(domains) AS domain
    WHERE in_catalogue
    GROUP BY domain

-- fold --
WITH counted AS MATERIALIZED (
    {read_models/catalogue_counts counted}
), gone AS (
    DELETE FROM catalogue_counts t
    WHERE EXISTS (SELECT FROM batch_items)
      AND NOT EXISTS (SELECT FROM counted c WHERE c.kind = t.kind AND c.name = t.name)
)
INSERT INTO catalogue_counts AS t
SELECT kind, name, items
FROM counted
WHERE EXISTS (SELECT FROM batch_items)
ORDER BY kind, name
ON CONFLICT (kind, name) DO UPDATE SET items = excluded.items
WHERE t.items <> excluded.items;

-- definition --
SELECT kind, name, count(*) AS items
FROM item_places
WHERE in_catalogue AND name <> 'UNKNOWN'
GROUP BY kind, name
