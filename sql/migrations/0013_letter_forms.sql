-- The data that dead letters name in each form of an event: in `data`, in `event_data`, and in the object itself.

-- Return the data of a dead letter's entry as ingest reads it: for a flat event, the entry itself; null if there is
-- none. An index stores what follows from this function and from the next one, so neither must ever change.
CREATE FUNCTION event_store.entry_data(entry json) RETURNS json LANGUAGE sql IMMUTABLE STRICT
RETURN CASE
    WHEN json_typeof(entry -> 'data') <> 'null' THEN entry -> 'data'
    WHEN json_typeof(entry -> 'specversion') <> 'null' THEN NULL
    WHEN json_typeof(entry -> 'event_data') <> 'null' THEN entry -> 'event_data'
    WHEN json_typeof(entry -> 'type') = 'string' AND coalesce(json_typeof(entry -> 'event_type'), 'null') = 'null'
        THEN entry END;

-- Return the session that a dead letter names, if it is a JSON object of at most 4 KiB. An event that ingest has
-- refused because it has no data may name its session beside its type. Each letter pays for this function when it is
-- written, so the function reads nothing of other payloads but their first bytes; the index dead_letters_large has the
-- objects. `migrate` builds both indexes after its transaction (sql/adapters/migrations.sql). The index
-- dead_letters_by_session with its function letter_sessions, of which version 0.3 knows, read whole payloads.
CREATE FUNCTION event_store.letter_session(payload text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    entry json;
BEGIN
    IF octet_length(payload) > 4096 OR ltrim(payload, E' \t\n\r') NOT LIKE '{%' THEN
        RETURN NULL;
    END IF;
    entry := event_store.parse_payload(payload);
    RETURN event_store.id_in(coalesce(event_store.entry_data(entry), entry) -> 'session_id');
END
$$;
