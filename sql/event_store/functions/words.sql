-- Return the possible ids in a payload, as distinct texts of 1 to 200 characters: the texts between quotation marks,
-- and the texts between spaces and punctuation. Texts of the second kind are left out if they may be ordinary words or
-- numbers, by the rule of mention_pattern. The payload need not be valid JSON.
CREATE OR REPLACE FUNCTION event_store.words(payload text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT word
FROM (SELECT rtrim(string_to_table(payload, '"'), '\')) t (word)    -- \" in JSON within JSON
WHERE length(word) BETWEEN 1 AND 200
UNION
SELECT word
FROM (SELECT regexp_split_to_table(payload, '[\s",;:=&?<>()\[\]{}]+')) t (word)
WHERE length(word) <= 200 AND (length(word) >= 5 AND word ~ '[^0-9]' OR length(word) >= 8)
$$;

REVOKE EXECUTE ON FUNCTION event_store.words FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.words TO progress_erasure;
