-- One row per shard and pair of language and kind, level in a pair or domain in a pair that has items in the catalogue,
-- and per shard and scale that has lists: their number. The folds of items and lists add what they change, so that no
-- query counts the catalogue. Each shard has its own rows, so that workers never wait for each other.

-- table --
CREATE TABLE catalogue_sizes (
    kind      text COLLATE "C" NOT NULL,   -- pair, level, domain or scale
    name      text COLLATE "C" NOT NULL,   -- of a pair, empty
    language  text COLLATE "C" NOT NULL,   -- as in catalogue_counts; of a scale, empty, as item_kind
    item_kind text COLLATE "C" NOT NULL,
    shard     smallint NOT NULL,           -- of the items or lists: add up the rows
    size      bigint NOT NULL,
    PRIMARY KEY (kind, name, language, item_kind, shard)
) WITH (fillfactor = 70);

-- of_items --
-- The sizes of the pairs, levels and domains of rows i, each of which stands for so many `items`. Domains are a text.
SELECT p.kind, p.name, {read_models/items primary_language} AS language, {read_models/items kind} AS item_kind,
    CAST(sum(i.items) AS bigint) AS size
FROM (
    SELECT level, domains, language, kind, sum(items) AS items
    FROM counted
    WHERE in_catalogue
    GROUP BY level, domains, language, kind
) AS i
CROSS JOIN LATERAL (
    SELECT 'pair' AS kind, '' AS name
    UNION ALL
    SELECT 'level', i.level WHERE i.level IS NOT NULL
    UNION ALL
    SELECT 'domain', d.name
    FROM (VALUES ('R'), ('W'), ('L'), ('S')) AS d (name)
    WHERE i.domains LIKE '%' || d.name || '%'
) AS p
GROUP BY p.kind, p.name, {read_models/items primary_language}, {read_models/items kind}

-- added --
ON CONFLICT (kind, name, language, item_kind, shard) DO UPDATE SET size = t.size + excluded.size

-- definition --
-- In one shard, because definitions also run in DuckDB, which cannot compute the shard.
SELECT kind, name, language, item_kind, CAST(0 AS smallint) AS shard, size
FROM (
    WITH counted AS (
        SELECT level, domains, language, kind, in_catalogue, 1 AS items FROM items
    )
    {read_models/catalogue_sizes of_items}
) AS s
UNION ALL
SELECT 'scale', scale, '', '', 0, count(*) FROM lists WHERE scale IS NOT NULL AND NOT is_archived GROUP BY scale

-- live --
SELECT kind, name, language, item_kind, CAST(0 AS smallint) AS shard, CAST(sum(size) AS bigint) AS size
FROM catalogue_sizes
GROUP BY kind, name, language, item_kind
HAVING sum(size) > 0

-- moved --
-- The items of which an event tells that is not folded, or that occurred after the time. With knownAt, every item.
SELECT i.item_id
FROM present_items i
WHERE i.decided_at > CASE WHEN CAST(:known_at AS timestamptz) IS NULL THEN CAST(:as_of AS timestamptz)
    ELSE '-infinity' END
UNION
SELECT CAST(w.item_id AS text) COLLATE "C" FROM waiting w

-- as_of --
-- The present sizes, without the items of `moved` as they are, and with them as they were.
SELECT kind, name, language, item_kind, shard, size FROM catalogue_sizes
UNION ALL
SELECT kind, name, language, item_kind, 0, size
FROM (
    WITH counted AS (
        SELECT i.level, array_to_string(i.domains, '') AS domains, i.language, i.kind, i.in_catalogue, -1 AS items
        FROM moved m
        JOIN present_items i ON i.item_id = m.item_id
        UNION ALL
        SELECT i.level, i.domains, i.language, i.kind, i.in_catalogue, 1
        FROM moved m
        CROSS JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = m.item_id OFFSET 0) AS i
    )
    {read_models/catalogue_sizes of_items}
) AS s
