-- Return a regular expression that finds an id in a text: as the whole text, as a JSON string (even one inside another
-- JSON string), or as learner-<id>. With is_free, it also finds the id as a single word. Words are separated by the
-- characters that ids do not contain. Ids of fewer than 5 characters and numbers of fewer than 8 digits are not found
-- in this way, because an ordinary word or number may be equal to such an id.
CREATE OR REPLACE FUNCTION event_store.mention_pattern(id text, is_free boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT '^' || f.ids || '$|"' || f.ids || '\\*"|learner-' || f.ids || '([^[:alnum:]_.@+|:/-]|$)'
    || CASE WHEN is_free AND (length(id) >= 5 AND id ~ '[^0-9]' OR length(id) >= 8)
            THEN '|(^|[^[:alnum:]_.@+|:/-])' || f.ids || '([^[:alnum:]_.@+|:/-]|$)' ELSE '' END
FROM (
    SELECT '(' || string_agg(regexp_replace(form, '([][\\.^$*+?(){}|/-])', '\\\1', 'g'), '|') || ')' AS ids
    FROM unnest(event_store.mention_forms(id)) AS t (form)
) f
$$;

REVOKE EXECUTE ON FUNCTION event_store.mention_pattern FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mention_pattern TO progress_erasure;
