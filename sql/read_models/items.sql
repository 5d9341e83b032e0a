-- One row per item that has a catalogue event: its latest description, and whether the catalogue still contains it.

-- table --
CREATE TABLE items (
    item_id      text COLLATE "C" PRIMARY KEY,
    headword     text,                     -- the word; null: not described yet
    level        text COLLATE "C",         -- CEFR level, A1 to C2; null: none
    domains      text[] COLLATE "C" NOT NULL,  -- skills R, W, L, S, in this order; may be empty
    described_at timestamptz,              -- time of the latest description; null: none
    described_id uuid,                     -- id of the event of this description
    decided_at   timestamptz NOT NULL,     -- time of the latest event of the catalogue about the item
    decided_id   uuid        NOT NULL,     -- id of this event
    in_catalogue boolean     NOT NULL,     -- false if the item is archived
    language     text COLLATE "C",         -- language of the headword, a BCP 47 tag; null: not known
    kind         text                      -- what tells the cards of one word apart; null: not known
) WITH (fillfactor = 80);

CREATE INDEX items_archived ON items (item_id) WHERE NOT in_catalogue;

-- For the past: the items of which later events tell.
CREATE INDEX items_by_decision ON items (decided_at);

-- Under this name, the present items are read inside a statement about the past, too.
CREATE VIEW present_items AS SELECT * FROM items;

-- fold --
IF has_catalogue THEN
WITH arrived AS MATERIALIZED (
    SELECT item_id, occurred_at, event_id, described, headword, level, domains, language, item_kind
    FROM catalogue_facts
    WHERE (shard, global_position) > (window_shard, window_start)
      AND (shard, global_position) <= (window_shard, window_end)
), decided AS (
    SELECT DISTINCT ON (item_id) item_id, occurred_at, event_id, described
    FROM arrived
    ORDER BY item_id, occurred_at DESC, event_id DESC
), described AS (
    SELECT DISTINCT ON (item_id) item_id, occurred_at, event_id, headword, level, language,
        nullif(item_kind, '') AS kind, array_remove(ARRAY[
            CASE WHEN domains ? 'R' THEN 'R' END, CASE WHEN domains ? 'W' THEN 'W' END,
            CASE WHEN domains ? 'L' THEN 'L' END, CASE WHEN domains ? 'S' THEN 'S' END], NULL) AS domains
    FROM arrived
    WHERE described
    ORDER BY item_id, occurred_at DESC, event_id DESC
), put AS (
INSERT INTO items AS i
SELECT c.item_id, d.headword, d.level, coalesce(d.domains, '{}'), d.occurred_at, d.event_id,
    c.occurred_at, c.event_id, c.described, d.language, d.kind
FROM decided c
LEFT JOIN described d ON d.item_id = c.item_id
ORDER BY c.item_id
ON CONFLICT (item_id) DO UPDATE SET
    (headword, level, domains, language, kind, described_at, described_id) = (
        SELECT n.headword, n.level, n.domains, n.language, n.kind, n.described_at, n.described_id
        FROM (VALUES
            (i.headword, i.level, i.domains, i.language, i.kind, i.described_at, i.described_id),
            (excluded.headword, excluded.level, excluded.domains, excluded.language, excluded.kind,
                excluded.described_at, excluded.described_id)
        ) AS n (headword, level, domains, language, kind, described_at, described_id)
        ORDER BY n.described_at DESC NULLS LAST, n.described_id DESC
        LIMIT 1),
    (decided_at, decided_id, in_catalogue) = (
        SELECT n.decided_at, n.decided_id, n.in_catalogue
        FROM (VALUES
            (i.decided_at, i.decided_id, i.in_catalogue),
            (excluded.decided_at, excluded.decided_id, excluded.in_catalogue)
        ) AS n (decided_at, decided_id, in_catalogue)
        ORDER BY n.decided_at DESC, n.decided_id DESC
        LIMIT 1)
RETURNING i.item_id, i.level, i.domains, i.language, i.kind, i.in_catalogue
), changed AS (   -- the rows as they are, and as they were
    SELECT *, 1 AS items FROM put
    UNION ALL
    SELECT i.item_id, i.level, i.domains, i.language, i.kind, i.in_catalogue, -1
    FROM put
    CROSS JOIN LATERAL (SELECT * FROM items i WHERE i.item_id = put.item_id OFFSET 0) AS i
), counted AS (
    SELECT level, array_to_string(domains, '') AS domains, language, kind, in_catalogue, items FROM changed
)
INSERT INTO catalogue_sizes AS t
SELECT s.kind, s.name, s.language, s.item_kind, window_shard, s.size
FROM (
    {read_models/catalogue_sizes of_items}
) AS s
WHERE s.size <> 0
ORDER BY s.kind, s.name, s.language, s.item_kind
{read_models/catalogue_sizes added};
END IF;

-- definition --
-- Here, `domains` is a text that consists of the letters of the domains, in the order R W L S.
WITH ranked AS (
    SELECT item_id, occurred_at, event_id, described, headword, level, domains, language, item_kind,
        row_number() OVER (PARTITION BY item_id ORDER BY occurred_at DESC, event_id DESC) AS place,
        row_number() OVER (PARTITION BY item_id, described ORDER BY occurred_at DESC, event_id DESC)
            AS place_of_its_kind
    FROM facts
    WHERE kind = 'catalogue'
)
SELECT c.item_id, d.headword, d.level,
    {read_models/items letters} AS domains,
    d.occurred_at AS described_at, d.event_id AS described_id,
    c.occurred_at AS decided_at, c.event_id AS decided_id, c.described AS in_catalogue, d.language,
    nullif(d.item_kind, '') AS kind
FROM ranked c
LEFT JOIN ranked d ON d.item_id = c.item_id AND d.described AND d.place_of_its_kind = 1
WHERE c.place = 1

-- letters --
-- The letters of the domains in the text d.domains, which is that of the event.
CASE WHEN d.domains LIKE '%"R"%' THEN 'R' ELSE '' END || CASE WHEN d.domains LIKE '%"W"%' THEN 'W' ELSE '' END
    || CASE WHEN d.domains LIKE '%"L"%' THEN 'L' ELSE '' END
    || CASE WHEN d.domains LIKE '%"S"%' THEN 'S' ELSE '' END

-- loaded --
-- DuckDB runs this block. It writes the domains in PostgreSQL's notation for arrays.
SELECT item_id, headword, level, '{' || array_to_string(string_split(domains, ''), ',') || '}' AS domains,
    described_at, described_id, decided_at, decided_id, in_catalogue, language, kind
FROM items

-- live --
SELECT item_id, headword, level, array_to_string(domains, '') AS domains, described_at, described_id, decided_at,
    decided_id, in_catalogue, language, kind
FROM items

-- primary_language --
-- The language of an item i as totals group it: `en` for en-GB. Items without a language, and items i that are missing,
-- have the language `und`. A definition's items have the database's collation, by which lower() may change more than
-- ASCII letters.
coalesce(lower(split_part(i.language, '-', 1) COLLATE "C"), 'und')

-- kind --
-- The kind of an item i in keys. No item has an empty kind.
coalesce(i.kind, '')

-- kinds --
-- The number of kinds of the described items in each language.
SELECT {read_models/items primary_language} AS language, count(DISTINCT {read_models/items kind}) AS kinds
FROM items i
WHERE i.described_at IS NOT NULL
GROUP BY 1
ORDER BY 2 DESC, 1;

-- in_language --
-- True if the description i, which may be missing, passes the filter by language. `und` selects the items without a
-- language or description.
(CAST(:language AS text) IS NULL OR {read_models/items primary_language} = :language)

-- level_and_domain --
-- True if the description i, which may be missing, passes the filters by level and domain. The level UNKNOWN selects
-- the items without a level, and the domain UNKNOWN the items without a domain.
(CAST(:level AS text) IS NULL OR coalesce(i.level, 'UNKNOWN') = :level)
AND CASE
    WHEN CAST(:domain AS text) IS NULL THEN TRUE
    WHEN :domain = 'UNKNOWN' THEN coalesce(cardinality(i.domains), 0) = 0
    ELSE :domain = ANY (i.domains)
END

-- of_row --
-- Joins the description i of the item of a row s. OFFSET 0 makes the planner look up each item, whatever the size of
-- the catalogue: a past one, too, of which a statement computes only the items that it looks up.
LEFT JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = s.item_id OFFSET 0) AS i ON TRUE

-- of_asked --
-- The same of a row `asked`.
LEFT JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = asked.item_id OFFSET 0) AS i ON TRUE

-- waiting --
-- The items with catalogue events that are not folded.
SELECT w.item_id FROM waiting_items() AS w (item_id)

-- as_of --
-- The catalogue at a past time, in the form of the definition. If an item's latest catalogue event is folded and
-- occurred by this time, the live row is the answer, unless knownAt is given: live rows do not tell when events were
-- recorded. Of the other items, the events are read.
SELECT item_id, headword, level, array_to_string(domains, '') AS domains, described_at, described_id, decided_at,
    decided_id, in_catalogue, language, kind
FROM items
WHERE CAST(:known_at AS timestamptz) IS NULL AND decided_at <= :as_of
  AND NOT EXISTS (SELECT FROM waiting w WHERE w.item_id = items.item_id)
UNION ALL
SELECT o.item_id, d.headword, d.level,
    CASE WHEN d.domains ? 'R' THEN 'R' ELSE '' END || CASE WHEN d.domains ? 'W' THEN 'W' ELSE '' END
        || CASE WHEN d.domains ? 'L' THEN 'L' ELSE '' END || CASE WHEN d.domains ? 'S' THEN 'S' ELSE '' END,
    d.described_at, d.described_id, d.occurred_at, d.event_id, d.described, d.language,
    nullif(d.item_kind, '')
FROM (
    SELECT i.item_id
    FROM items i
    WHERE (CAST(:known_at AS timestamptz) IS NOT NULL OR i.decided_at > :as_of)
      AND NOT EXISTS (SELECT FROM waiting w WHERE w.item_id = i.item_id)
    UNION ALL
    SELECT CAST(w.item_id AS text) COLLATE "C" FROM waiting w
) AS o
CROSS JOIN LATERAL (
    SELECT d.*, CASE WHEN d.event_type <> 'ItemArchived' THEN d.event_data -> 'domains' END AS domains,
        {catalogue_values}
    FROM (
        SELECT c.occurred_at, c.event_id, c.event_type <> 'ItemArchived' AS described,
            coalesce(b.event_type, c.event_type) AS event_type, coalesce(b.event_data, c.event_data) AS event_data,
            CASE WHEN c.event_type <> 'ItemArchived' THEN c.occurred_at ELSE b.occurred_at END AS described_at,
            CASE WHEN c.event_type <> 'ItemArchived' THEN c.event_id ELSE b.event_id END AS described_id
        FROM (
            SELECT e.stream_id, e.occurred_at, e.event_id, e.event_type, e.event_data
            FROM event_store.events e
            WHERE e.stream_id = 'item-' || o.item_id AND {read_models/items happened}
            ORDER BY e.occurred_at DESC, e.event_id DESC
            LIMIT 1
        ) c
        LEFT JOIN LATERAL (
            SELECT e.occurred_at, e.event_id, e.event_type, e.event_data
            FROM event_store.events e
            WHERE c.event_type = 'ItemArchived' AND e.stream_id = c.stream_id AND e.event_type <> 'ItemArchived'
              AND {read_models/items happened}
            ORDER BY e.occurred_at DESC, e.event_id DESC
            LIMIT 1
        ) b ON true   -- the description before the item was archived
    ) d
    OFFSET 0   -- compute each value once
) d

-- happened --
e.event_type IN ({catalogue_types})
      AND e.occurred_at <= coalesce(CAST(:as_of AS timestamptz), 'infinity')
      AND e.created_at <= coalesce(CAST(:known_at AS timestamptz), 'infinity')
      AND e.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))
