-- Return a regular expression that finds an id in a text: as the whole text, as a JSON string (even one inside another
-- JSON string), or as learner-<id>. With is_free, it also finds the id between characters that ids do not contain,
-- unless the id is so short or numeric that it may be an ordinary word or number.
CREATE OR REPLACE FUNCTION event_store.mention_pattern(id text, is_free boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT '^' || f.ids || '$|"' || f.ids || '\\*"|learner-' || f.ids || '([^[:alnum:]_.@+|:/-]|$)'
    || CASE WHEN is_free AND (length(id) >= 5 AND id ~ '[^0-9]' OR length(id) >= 8)
            THEN '|(^|[^[:alnum:]_.@+|:/-])' || f.ids || '([^[:alnum:]_.@+|:/-]|$)' ELSE '' END
FROM (
    SELECT '(' || string_agg(regexp_replace(form, '([][\\.^$*+?(){}|/-])', '\\\1', 'g'), '|') || ')' AS ids
    FROM (
        -- Plain, with JSON's escapes, and with escapes of every character outside ASCII.
        SELECT id AS form
        UNION
        SELECT substr(j.json, 2, length(j.json) - 2) FROM (SELECT to_json(id)::text AS json) j
        UNION
        SELECT string_agg(CASE WHEN ascii(c) < 128 THEN c
            WHEN ascii(c) < 65536 THEN '\u' || lpad(to_hex(ascii(c)), 4, '0')
            ELSE '\u' || to_hex(55296 + ((ascii(c) - 65536) >> 10))
                || '\u' || to_hex(56320 + ((ascii(c) - 65536) & 1023))
            END, '' ORDER BY n)
        FROM string_to_table(trim('"' FROM to_json(id)::text), NULL) WITH ORDINALITY AS t (c, n)
    ) forms
) f
$$;

REVOKE EXECUTE ON FUNCTION event_store.mention_pattern FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mention_pattern TO progress_erasure;
