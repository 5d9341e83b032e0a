-- Return a dead letter's payload as JSON whose strings can be read; null if the payload is not JSON. PostgreSQL cannot
-- read a string with U+0000 or half a surrogate pair. In such a payload, U+FDD0, which no id uses, replaces these
-- characters. First, each escaped backslash is written in another form, because `\\u0000` is a backslash before plain
-- text.
CREATE OR REPLACE FUNCTION event_store.parse_payload(payload text) RETURNS json
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    body json;
BEGIN
    BEGIN
        body := payload::json;
        PERFORM body -> '';            -- reads every string
    EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
        body := regexp_replace(replace(payload, '\\', '\u005c'),
            '\\u0000'
            '|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})'
            '|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\\ufdd0', 'g')::json;
        PERFORM body -> '';
    END;
    RETURN body;
EXCEPTION WHEN untranslatable_character OR invalid_text_representation OR statement_too_complex THEN
    RETURN NULL;                       -- not JSON, or nested too deeply
END $$;

REVOKE EXECUTE ON FUNCTION event_store.parse_payload FROM PUBLIC;
