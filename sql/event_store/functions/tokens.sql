-- Split a text that is not a JSON object into its tokens, in their order. Tokens are separated by white space, quotes
-- of both kinds, backquotes, brackets of all four kinds, commas, colons, semicolons and equals signs.
CREATE OR REPLACE FUNCTION event_store.tokens(content text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
SELECT array_remove(string_to_array(translate(content, s.separators, repeat(' ', length(s.separators))), ' '), '')
FROM (VALUES (E'"''`()[]{}<>,:;=\t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004'
              '\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')) s (separators)
$$;

REVOKE EXECUTE ON FUNCTION event_store.tokens FROM PUBLIC;
