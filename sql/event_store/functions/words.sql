-- Return the distinct texts of 1 to 200 characters in a payload that may be ids: the texts between quotation marks, and
-- the texts between spaces and punctuation. The payload need not be valid JSON.
CREATE OR REPLACE FUNCTION event_store.words(payload text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT word FROM (
    SELECT rtrim(string_to_table(payload, '"'), '\')     -- \" in JSON within JSON
    UNION
    SELECT regexp_split_to_table(payload, '[\s",;:=&?<>()\[\]{}]+')
) t (word)
WHERE length(word) BETWEEN 1 AND 200
$$;

REVOKE EXECUTE ON FUNCTION event_store.words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.words TO progress_erasure;
