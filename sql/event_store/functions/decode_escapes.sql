-- Decode the escapes of JSON strings in a text that need not be JSON. U+0000 and halves of surrogate pairs become
-- spaces, because PostgreSQL cannot store them. Other backslashes stay. U+FDD0, which no text uses, stands for a
-- backslash that begins no escape: unistr() must not read it as one.
CREATE OR REPLACE FUNCTION event_store.decode_escapes(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decoded text := replace(content, '\\', U&'\FDD0');
BEGIN
    decoded := replace(replace(replace(replace(decoded, '\"', '"'), '\/', '/'), '\n', E'\n'), '\t', E'\t');
    decoded := replace(replace(replace(decoded, '\r', E'\r'), '\f', E'\f'), '\b', E'\b');
    IF strpos(decoded, '\u') > 0 THEN
        decoded := regexp_replace(decoded, '\\(?!u[0-9a-fA-F]{4})', U&'\FDD0', 'g');
        decoded := unistr(regexp_replace(decoded,
            '\\u0000'
            '|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})'
            '|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}', ' ', 'g'));
    END IF;
    RETURN replace(decoded, U&'\FDD0', '\');
END $$;

REVOKE EXECUTE ON FUNCTION event_store.decode_escapes FROM PUBLIC;
