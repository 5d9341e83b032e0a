-- Return the forms in which an id may occur in a text: unchanged; with the escapes that JSON requires; with these
-- escapes and all non-ASCII characters escaped.
CREATE OR REPLACE FUNCTION event_store.mention_forms(id text) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT array_agg(form ORDER BY form)
FROM (
    SELECT id AS form
    UNION
    SELECT substr(j.json, 2, length(j.json) - 2) FROM (SELECT to_json(id)::text AS json) j
    UNION
    SELECT string_agg(CASE WHEN ascii(c) < 128 THEN c
        WHEN ascii(c) < 65536 THEN '\u' || lpad(to_hex(ascii(c)), 4, '0')
        ELSE '\u' || to_hex(55296 + ((ascii(c) - 65536) >> 10)) || '\u' || to_hex(56320 + ((ascii(c) - 65536) & 1023))
        END, '' ORDER BY n)
    FROM (SELECT to_json(id)::text AS json) j,
        string_to_table(substr(j.json, 2, length(j.json) - 2), NULL) WITH ORDINALITY AS t (c, n)
) forms
$$;

REVOKE EXECUTE ON FUNCTION event_store.mention_forms FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mention_forms TO progress_erasure;
