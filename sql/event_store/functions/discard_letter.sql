-- Discard an open dead letter; return false if there is no open dead letter with this id.
CREATE OR REPLACE FUNCTION event_store.discard_letter(letter_id bigint, reason text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH discarded AS (
        UPDATE event_store.dead_letters l
        SET discarded_at = clock_timestamp(), discard_reason = discard_letter.reason
        WHERE l.letter_id = discard_letter.letter_id
          AND l.replayed_at IS NULL AND l.discarded_at IS NULL
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM discarded);
END;

REVOKE EXECUTE ON FUNCTION event_store.discard_letter FROM PUBLIC;
