-- The data that dead letters name in each form of an event: in `data`, in `event_data`, and in the object itself.

-- Return the data of a dead letter's entry as ingest reads it: for a flat event, the entry itself; null if there is
-- none. The index below stores what follows from this function and from the next one, so neither must ever change.
CREATE FUNCTION event_store.entry_data(entry json) RETURNS json LANGUAGE sql IMMUTABLE STRICT
RETURN CASE
    WHEN json_typeof(entry -> 'data') <> 'null' THEN entry -> 'data'
    WHEN json_typeof(entry -> 'specversion') <> 'null' THEN NULL
    WHEN json_typeof(entry -> 'event_data') <> 'null' THEN entry -> 'event_data'
    WHEN json_typeof(entry -> 'type') = 'string' AND coalesce(json_typeof(entry -> 'event_type'), 'null') = 'null'
        THEN entry END;

-- Return the sessions that a dead letter's payload names, or those of the entries of a bundle. An event that ingest has
-- refused because it has no data may name its session beside its type.
CREATE FUNCTION event_store.named_sessions(payload text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    body json := event_store.parse_payload(payload);
BEGIN
    RETURN ARRAY(
        SELECT DISTINCT i.session_id
        FROM json_array_elements(CASE json_typeof(body) WHEN 'array' THEN body ELSE json_build_array(body) END)
            AS e (entry)
        CROSS JOIN LATERAL event_store.id_in(coalesce(event_store.entry_data(e.entry), e.entry) -> 'session_id')
            AS i (session_id)
        WHERE i.session_id IS NOT NULL);
END
$$;

DROP INDEX event_store.dead_letters_by_session;
DROP FUNCTION event_store.letter_sessions;
CREATE INDEX dead_letters_by_session ON event_store.dead_letters
    (((event_store.named_sessions(payload))[1]) COLLATE "C") WHERE indexes IS NULL;
-- Statistics would keep the ids of sessions.
ALTER INDEX event_store.dead_letters_by_session ALTER COLUMN 1 SET STATISTICS 0;
