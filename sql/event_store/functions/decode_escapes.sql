-- Decode the escapes of JSON strings in a text that need not be JSON. U+0000 and halves of surrogate pairs become
-- spaces, because PostgreSQL cannot store them. Other backslashes stay.
CREATE OR REPLACE FUNCTION event_store.decode_escapes(content text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce(string_agg(
    CASE
        WHEN length(p.part) = 1 OR left(p.part, 1) <> '\' THEN p.part
        WHEN length(p.part) = 12 THEN chr(65536 + ((p.unit - 55296) << 10) + p.second_unit - 56320)
        WHEN p.unit = 0 OR p.unit BETWEEN 55296 AND 57343 THEN ' '
        WHEN p.unit IS NOT NULL THEN chr(p.unit)
        ELSE coalesce((ARRAY[E'\b', E'\f', E'\n', E'\r', E'\t', '"', '\', '/'])[strpos('bfnrt"\/', right(p.part, 1))],
                      p.part)
    END, '' ORDER BY p.n), '')
FROM (
    SELECT m.found[1] AS part, m.n,
        CASE WHEN length(m.found[1]) >= 6 AND left(m.found[1], 2) = '\u'
             THEN ('x' || lpad(substr(m.found[1], 3, 4), 8, '0'))::bit(32)::integer END AS unit,
        CASE WHEN length(m.found[1]) = 12 AND left(m.found[1], 2) = '\u'
             THEN ('x' || lpad(substr(m.found[1], 9, 4), 8, '0'))::bit(32)::integer END AS second_unit
    FROM regexp_matches(content,
        '(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]+|\\)', 'g')
        WITH ORDINALITY AS m (found, n)
) p
$$;

REVOKE EXECUTE ON FUNCTION event_store.decode_escapes FROM PUBLIC;
