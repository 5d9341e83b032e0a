-- Return whether a text matches the pattern of an id; `forms` are the mention_forms of the id. Search for the
-- forms first: most texts contain none of them, and strpos is twenty times as fast as the pattern.
CREATE OR REPLACE FUNCTION event_store.mentions(content text, forms text[], pattern text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN (strpos(content, forms[1]) > 0 OR strpos(content, forms[2]) > 0 OR strpos(content, forms[3]) > 0)
    AND content ~ pattern;

REVOKE EXECUTE ON FUNCTION event_store.mentions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mentions TO progress_erasure;
