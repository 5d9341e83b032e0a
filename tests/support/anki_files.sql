-- Statements that create Anki collections. The tables are from Anki's published schemas, and include all tables that
-- the import reads.

-- schema 11 --
CREATE TABLE col (id integer PRIMARY KEY, crt integer NOT NULL, mod integer NOT NULL, scm integer NOT NULL,
    ver integer NOT NULL, dty integer NOT NULL, usn integer NOT NULL, ls integer NOT NULL, conf text NOT NULL,
    models text NOT NULL, decks text NOT NULL, dconf text NOT NULL, tags text NOT NULL);
CREATE TABLE notes (id integer PRIMARY KEY, guid text NOT NULL, mid integer NOT NULL, mod integer NOT NULL,
    usn integer NOT NULL, tags text NOT NULL, flds text NOT NULL, sfld integer NOT NULL, csum integer NOT NULL,
    flags integer NOT NULL, data text NOT NULL);
CREATE TABLE cards (id integer PRIMARY KEY, nid integer NOT NULL, did integer NOT NULL, ord integer NOT NULL,
    mod integer NOT NULL, usn integer NOT NULL, type integer NOT NULL, queue integer NOT NULL, due integer NOT NULL,
    ivl integer NOT NULL, factor integer NOT NULL, reps integer NOT NULL, lapses integer NOT NULL,
    left integer NOT NULL, odue integer NOT NULL, odid integer NOT NULL, flags integer NOT NULL, data text NOT NULL);
CREATE TABLE revlog (id integer PRIMARY KEY, cid integer NOT NULL, usn integer NOT NULL, ease integer NOT NULL,
    ivl integer NOT NULL, lastIvl integer NOT NULL, factor integer NOT NULL, time integer NOT NULL,
    type integer NOT NULL);
CREATE TABLE graves (usn integer NOT NULL, oid integer NOT NULL, type integer NOT NULL);
CREATE INDEX ix_cards_nid ON cards (nid);
CREATE INDEX ix_revlog_cid ON revlog (cid);

-- schema 18 --
-- The tables that Anki adds when it upgrades a collection to schema 18. As in real collections, notetypes.name
-- has Anki's own collation, unicase.
CREATE TABLE config (key text NOT NULL PRIMARY KEY, usn integer NOT NULL, mtime_secs integer NOT NULL,
    val blob NOT NULL) WITHOUT ROWID;
CREATE TABLE notetypes (id integer NOT NULL PRIMARY KEY, name text NOT NULL COLLATE unicase,
    mtime_secs integer NOT NULL, usn integer NOT NULL, config blob NOT NULL);
CREATE UNIQUE INDEX idx_notetypes_name ON notetypes (name);
CREATE TABLE templates (ntid integer NOT NULL, ord integer NOT NULL, name text NOT NULL COLLATE unicase,
    mtime_secs integer NOT NULL, usn integer NOT NULL, config blob NOT NULL, PRIMARY KEY (ntid, ord)) WITHOUT ROWID;
CREATE UNIQUE INDEX idx_templates_name_ntid ON templates (name, ntid);
CREATE TABLE decks (id integer PRIMARY KEY NOT NULL, name text NOT NULL COLLATE unicase, mtime_secs integer NOT NULL,
    usn integer NOT NULL, common blob NOT NULL, kind blob NOT NULL);
CREATE UNIQUE INDEX idx_decks_name ON decks (name);

-- add collection --
INSERT INTO col VALUES (1, :crt, :mod, 0, :ver, 0, 0, 0, :conf, :models, :decks, '{}', '{}');

-- add setting --
INSERT INTO config VALUES ('rollover', 0, 0, :value);

-- add notetype --
INSERT INTO notetypes VALUES (1, 'Basic', 0, 0, :config);

-- add template --
INSERT INTO templates VALUES (1, :ord, :name, 0, 0, x'');

-- add deck --
INSERT INTO decks VALUES (:id, :name, 0, 0, x'', x'');

-- add note --
INSERT INTO notes VALUES (:id, 'guid', 1, :mod, 0, '', :fields, '', 0, 0, '');

-- add card --
INSERT OR REPLACE INTO cards
VALUES (:id, :note, :deck, :ord, :changed_s, 0, :kind, :queue, :due, 0, 2500, 0, 0, 0, :odue,
    :odid, 0, '');

-- add answer --
INSERT INTO revlog VALUES (:id, :card, 0, :ease, :interval, 0, :factor, :time, :kind);
