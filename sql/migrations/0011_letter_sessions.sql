-- The sessions that dead letters name. If the append drops the start of a session because its learner is erased, it
-- redacts the session's dead letters, which arrived earlier and name no learner.

-- Return the ids in data.session_id of a dead letter's payload, or of the entries of a bundle. The index below stores
-- the results, so this function must never change.
CREATE FUNCTION event_store.letter_sessions(payload text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body json := event_store.parse_payload(payload);
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT i.session_id
        FROM json_array_elements(CASE json_typeof(body) WHEN 'array' THEN body ELSE json_build_array(body) END)
            AS e (entry)
        CROSS JOIN LATERAL event_store.id_in(e.entry -> 'data' -> 'session_id') AS i (session_id)
        WHERE i.session_id IS NOT NULL);
END
$$;
REVOKE EXECUTE ON FUNCTION event_store.letter_sessions FROM PUBLIC;

-- A dead letter that is no bundle has at most one session, or is no object. Bundles are few; each is read.
CREATE INDEX dead_letters_by_session ON event_store.dead_letters
    (((event_store.letter_sessions(payload))[1]) COLLATE "C") WHERE indexes IS NULL;
CREATE INDEX dead_letters_bundles ON event_store.dead_letters (letter_id) WHERE indexes IS NOT NULL;
-- Statistics would keep the ids of sessions.
ALTER INDEX event_store.dead_letters_by_session ALTER COLUMN 1 SET STATISTICS 0;
