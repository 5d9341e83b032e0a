-- Whose a row is, is decided by fields, not by a search in texts. A dead letter whose payload is not a JSON object
-- keeps the size and the hash of the payload when an erasure empties it.

DROP FUNCTION IF EXISTS event_store.letters_of;
DROP FUNCTION IF EXISTS event_store.search_rows;
DROP FUNCTION IF EXISTS event_store.searched_tables;
DROP FUNCTION IF EXISTS event_store.mentions;
DROP FUNCTION IF EXISTS event_store.mention_pattern;
DROP FUNCTION IF EXISTS event_store.mention_forms;
DROP FUNCTION IF EXISTS event_store.letter_text;
DROP FUNCTION IF EXISTS event_store.words;

ALTER TABLE event_store.dead_letters
    ADD COLUMN emptied_bytes  integer,           -- the size of the payload that an erasure emptied
    ADD COLUMN emptied_sha256 text;              -- the hash of this payload

-- A text that is not a JSON object is compared with an erased id token by token (event_store.tokens). If the id
-- contains a separator, tokens_digest is the digest of the id's tokens, joined by spaces; otherwise it is null.
ALTER TABLE event_store.erased
    ADD COLUMN token_count   integer NOT NULL DEFAULT 1,
    ADD COLUMN tokens_digest bytea;
CREATE INDEX erased_by_tokens ON event_store.erased (token_count, tokens_digest) WHERE tokens_digest IS NOT NULL;

DROP FUNCTION IF EXISTS event_store.forbid_learner;
DROP FUNCTION IF EXISTS event_store.drop_erased;

CREATE TYPE event_store.judgement AS (gone integer[], emptied integer[]);
COMMENT ON TYPE event_store.judgement IS
    'The entries of a dead letter that belong to erased learners, by their places from 1: entries that are JSON '
    'objects, which are removed, and other entries, which are emptied. A dead letter that is not a bundle has one '
    'entry.';

-- An operation may end after its caller was erased.
CREATE FUNCTION operations.forget_callers() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER forget_callers BEFORE UPDATE ON operations.operations
    FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION operations.forget_callers();
