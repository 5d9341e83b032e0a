-- Scripts that change a SQLite database with an Anki collection, as a damaged or hostile deck might.

-- loosen --
-- Replace each table that the import reads by one without keys and constraints.
DROP TABLE IF EXISTS notetypes;
CREATE TEMP TABLE r AS SELECT * FROM revlog;
DROP TABLE revlog;
CREATE TABLE revlog AS SELECT * FROM r;
CREATE TEMP TABLE c AS SELECT * FROM cards;
DROP TABLE cards;
CREATE TABLE cards AS SELECT * FROM c;
CREATE TEMP TABLE n AS SELECT * FROM notes;
DROP TABLE notes;
CREATE TABLE notes AS SELECT * FROM n;
CREATE TEMP TABLE l AS SELECT * FROM col;
DROP TABLE col;
CREATE TABLE col AS SELECT * FROM l;

-- endless answers --
DROP TABLE revlog;
CREATE VIEW revlog AS
WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
SELECT id, 1 AS cid, 3 AS ease, 1 AS ivl, 2500 AS factor, 1 AS time, 1 AS type FROM n;

-- virtual notes --
DROP TABLE notes;
CREATE VIRTUAL TABLE Notes USING fts5(id, flds, mod);

-- repeat cards --
-- Repeat the rows, so that the join of cards and notes has hundreds of thousands of rows.
INSERT INTO cards SELECT a.* FROM cards a, revlog, revlog, revlog, revlog;
INSERT INTO notes SELECT a.* FROM notes a, revlog, revlog, revlog, revlog;

-- text as a time --
UPDATE revlog SET id = '[/b]' || char(27) || '[31m';

-- changes --
-- Each paragraph is one change.
UPDATE revlog SET cid = 'x';

UPDATE revlog SET ease = 2.9, type = 'x', time = 1e300, ivl = -9e18, factor = x'00';

UPDATE revlog SET id = id * 1000000;

UPDATE revlog SET id = -id;

UPDATE cards SET id = 9223372036854775807 WHERE id = 1;

UPDATE notes SET flds = NULL, mod = 'x';

UPDATE notes SET flds = x'ff', mod = 1e300;

UPDATE notes SET flds = replace(hex(zeroblob(4000)), '0', '{{c1::a::');

UPDATE notes SET flds = '&#' || replace(hex(zeroblob(9000)), '0', '1');

UPDATE col SET ver = 'x' || char(10) || ver;

UPDATE col SET ver = NULL;

UPDATE col SET conf = replace(hex(zeroblob(99999)), '0', '[');

UPDATE config SET val = replace(hex(zeroblob(99999)), '0', '{"a":');

UPDATE config SET val = replace(hex(zeroblob(9000)), '0', '1');

DELETE FROM col;

DROP TABLE cards;

DROP TABLE config;

DROP TABLE revlog;
CREATE TABLE Revlog (id);

DROP TABLE notes;
CREATE TABLE notes (id text, flds, mod);
INSERT INTO notes VALUES (2, 'w', 1);

UPDATE notes SET flds = CAST(x'eda080' AS text) || '&#xD800;' || char(0);

UPDATE notes SET flds = CAST(x'78ff' AS text);

-- SQLite's message about this table is not UTF-8.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = CAST(x'4352454154452078ff' AS text) WHERE name = 'graves';
