-- Queries of an Anki collection. A collection is a SQLite database, here with Anki's schema version 11 to 18.

-- protect --
-- Change nothing, call no function that the schema names unless it is harmless, and check each page.
PRAGMA query_only = ON;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;

-- computed tables --
-- The tables below that do not store their rows: views, and virtual tables, which have no root page.
SELECT name
FROM sqlite_master
WHERE lower(name) IN ('col', 'revlog', 'cards', 'notes', 'config', 'notetypes', 'templates', 'decks')
  AND (type = 'view' OR type = 'table' AND coalesce(rootpage, 0) = 0);

-- version --
-- The schema's number, and the time of the collection's last change, in ms since 1970.
SELECT ver, CAST(coalesce(mod, 0) AS integer) FROM col;

-- answers --
-- The answers in the review log, without the entries that record manual changes. `id` is the time in ms since 1970.
-- `ivl` is the new interval: in days or, if negative, in seconds. `factor` is the easiness in thousandths, or 0, or
-- FSRS's difficulty from 100 to 1,100. `time` is 0 if it is unknown. A number that is null counts as 0.
SELECT id, cid, CAST(ease AS integer), CAST(coalesce(ivl, 0) AS integer), CAST(coalesce(factor, 0) AS integer),
    CAST(coalesce(time, 0) AS integer), CAST(coalesce(type, 0) AS integer)
FROM revlog
WHERE ease BETWEEN 1 AND 4;

-- cards --
-- The cards with the fields of their notes. `mod` is the time of the note's last change, in seconds since 1970. `mid`
-- is the note's type, and `ord` the card's number in the note, from 0. A card in a filtered deck has its own deck. At
-- the end, a new card's place in its deck, -1 for another card.
SELECT c.id, CAST(coalesce(n.flds, '') AS text), CAST(coalesce(n.mod, 0) AS integer),
    CAST(coalesce(n.mid, 0) AS integer), CAST(coalesce(c.ord, 0) AS integer),
    CAST(coalesce(CASE WHEN c.odid <> 0 THEN c.odid ELSE c.did END, 0) AS integer),
    CAST(coalesce(CASE WHEN c.type <> 0 THEN -1 WHEN c.odid <> 0 THEN c.odue ELSE c.due END, -1) AS integer)
FROM cards c
JOIN notes n ON n.id = c.nid
ORDER BY c.id;

-- card states --
-- The time of each card's last change, in seconds since 1970, its type, its queue (-1 if it is suspended), and the
-- number of the day on which it is due: in a filtered deck, that of its own deck. Some types and queues have no day.
SELECT id, CAST(coalesce(mod, 0) AS integer), CAST(coalesce(type, 0) AS integer), CAST(coalesce(queue, 0) AS integer),
    CAST(coalesce(CASE WHEN odid <> 0 THEN odue ELSE due END, 0) AS integer)
FROM cards
ORDER BY id;

-- moves --
-- The entries that record changes without an answer, oldest first: a new due date or forgetting (type 4), and another
-- schedule (type 5).
SELECT id, cid, CAST(coalesce(ivl, 0) AS integer), CAST(coalesce(factor, 0) AS integer), CAST(type AS integer)
FROM revlog
WHERE type IN (4, 5) AND (ease BETWEEN 1 AND 4) IS NOT TRUE
ORDER BY id;

-- has templates --
SELECT count(*) = 2 FROM sqlite_master WHERE type = 'table' AND name IN ('notetypes', 'templates');

-- has decks --
SELECT count(*) = 1 FROM sqlite_master WHERE type = 'table' AND name = 'decks';

-- decks --
-- The names of the decks, with their paths.
SELECT id, CAST(coalesce(name, '') AS text) FROM decks;

-- former decks --
-- The same up to schema 14, in which `decks` contains all decks, as a JSON object.
SELECT CAST(d.key AS integer), CAST(coalesce(json_extract(d.value, '$.name'), '') AS text)
FROM col
CROSS JOIN json_each(CASE WHEN json_valid(decks) THEN decks ELSE '{}' END) d
WHERE d.type = 'object';

-- templates --
-- The names of the templates by note type and number, whether the type is one of clozes, and the number of the field by
-- which its notes are sorted. `config` is a protocol buffer, whose first field is 1 for clozes.
SELECT CAST(coalesce(t.ntid, 0) AS integer), CAST(coalesce(t.ord, 0) AS integer), CAST(coalesce(t.name, '') AS text),
    coalesce(substr(CAST(n.config AS blob), 1, 2) = x'0801', 0), sort_field(CAST(coalesce(n.config, '') AS blob))
FROM templates t
JOIN notetypes n ON n.id = t.ntid
ORDER BY t.ntid, t.ord;

-- former templates --
-- The same up to schema 14, in which `models` contains all note types, as a JSON object.
SELECT CAST(m.key AS integer), CAST(coalesce(json_extract(t.value, '$.ord'), 0) AS integer),
    CAST(coalesce(json_extract(t.value, '$.name'), '') AS text), coalesce(json_extract(m.value, '$.type') = 1, 0),
    CAST(coalesce(json_extract(m.value, '$.sortf'), 0) AS integer)
FROM col
CROSS JOIN json_each(CASE WHEN json_valid(models) THEN models ELSE '{}' END) m
CROSS JOIN json_each(CASE WHEN m.type = 'object' THEN m.value ELSE '{}' END, '$.tmpls') t
WHERE t.type = 'object';

-- settings --
-- Up to schema 13, `conf` contains all settings, as a JSON object.
SELECT conf FROM col;

-- setting --
-- Since schema 14, each setting is stored separately, as JSON.
SELECT val FROM config WHERE key = :name;

-- created --
-- The time of the collection's first day, in seconds since 1970.
SELECT CAST(coalesce(crt, 0) AS integer) FROM col;
