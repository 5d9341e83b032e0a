-- Return the part of a dead letter's text that is searched for the ids of learners and sessions. The event's item_id is
-- removed, because an item may have the same id as a learner or a session. A malformed payload is returned unchanged.
CREATE OR REPLACE FUNCTION event_store.letter_text(payload text, kind text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN kind = 'malformed' THEN payload
    ELSE regexp_replace(payload, '"item_id"\s*:\s*"([^"\\]|\\.)*"', '', 'g') END
$$;

REVOKE EXECUTE ON FUNCTION event_store.letter_text FROM PUBLIC;
