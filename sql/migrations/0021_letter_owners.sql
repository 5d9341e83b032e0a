-- Dead letters know whose they are. Those that are there, and those that an ingest of an earlier version writes, have
-- no owners until the batch job or an erasure reads them.

ALTER TABLE event_store.dead_letters ADD COLUMN owners text[] COLLATE "C";
COMMENT ON COLUMN event_store.dead_letters.owners IS
    'Whose the entries are: l: (a learner) or s: (a session) and the erasure_digest of the id in hexadecimal digits, '
    'nobody or unknown; of a bundle, one for each range of `indexes`; empty if the letter was emptied.';
UPDATE event_store.dead_letters SET owners = '{}'
WHERE emptied_bytes IS NOT NULL OR payload = '' AND discard_reason = 'erased';

ALTER TABLE event_store.dead_letters ALTER COLUMN owners SET STATISTICS 0;  -- they are of no use to the planner
CREATE INDEX dead_letters_by_owner ON event_store.dead_letters ((owners[1])) WHERE indexes IS NULL;
CREATE INDEX dead_letters_unknown ON event_store.dead_letters (received_at, letter_id) WHERE 'unknown' = ANY (owners);
CREATE INDEX dead_letters_without_owners ON event_store.dead_letters (letter_id) WHERE owners IS NULL;

-- What parsed the payloads of letters, and the indexes of what it found.
DROP INDEX IF EXISTS event_store.dead_letters_of_session, event_store.dead_letters_large;
DROP INDEX event_store.dead_letters_not_aged;
ALTER TABLE event_store.dead_letters DROP COLUMN is_aged;
DROP FUNCTION IF EXISTS event_store.letter_session(text), event_store.letter_sessions(text),
    event_store.entries_of(event_store.dead_letters), event_store.has_fields(json), event_store.entry_data(json),
    event_store.parse_payload(text), event_store.id_in(json),
    event_store.erased_entries(event_store.dead_letters, text, text, bytea),
    event_store.undecodable_entries(event_store.dead_letters),
    event_store.erase_entries(event_store.dead_letters, integer[]), event_store.drop_erased_letters(jsonb),
    event_store.drop_letters_of_started_sessions(jsonb), event_store.erase_from_letters(bigint[], bytea),
    event_store.empty_undecodable(bigint[]), event_store.redact_letters_of_sessions(text[]),
    event_store.letters_of(bytea, bigint, integer, boolean),
    event_store.redact_letters_of(bytea, bigint, integer, boolean);
