-- Dead letters that nobody can decode keep their bytes for MALFORMED_DAYS, or until an erasure empties them all. Their
-- bytes are not searched for ids any more.

ALTER TABLE event_store.dead_letters ADD COLUMN is_aged boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN event_store.dead_letters.is_aged IS
    'Whether the batch job has emptied what nobody can decode in the letter, MALFORMED_DAYS after it arrived.';
COMMENT ON COLUMN event_store.dead_letters.emptied_bytes IS
    'The size of the payload, if nobody could decode it and it is emptied; emptied_sha256 is its hash.';
CREATE INDEX dead_letters_not_aged ON event_store.dead_letters (received_at, letter_id)
    WHERE NOT is_aged AND kind IN ('malformed', 'invalid');

-- The columns stay for version 0.3, which writes them.
DROP INDEX event_store.erased_by_tokens;
DROP TYPE event_store.judgement CASCADE;
DROP FUNCTION IF EXISTS event_store.names_erased(text, bytea), event_store.tokens(text),
    event_store.decode_escapes(text), event_store.named_sessions(text, boolean),
    event_store.letters_of(bytea, bigint, integer), event_store.redact_letters_of(bytea, bigint, integer);
