-- Return the id that a field of a JSON object holds; null if the field holds no id.
CREATE OR REPLACE FUNCTION event_store.id_in(field json) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN json_typeof(field) IN ('string', 'number', 'boolean') AND length(field #>> '{}') BETWEEN 1 AND 200
            THEN field #>> '{}' END;

REVOKE EXECUTE ON FUNCTION event_store.id_in FROM PUBLIC;
