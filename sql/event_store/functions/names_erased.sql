-- Return whether the id of an erased learner is one of the tokens of a text that is not a JSON object. If `wanted` is
-- not null, return whether this is the learner with this digest. JSON escapes are decoded several times, because a JSON
-- string may itself hold JSON. An id that contains separators is compared with every sequence of as many tokens.
CREATE OR REPLACE FUNCTION event_store.names_erased(content text, wanted bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key       event_store.erasure_key;
    decoded   text := content;
    plain     text;
    tokens    text[];
    how_many  integer;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    FOR level IN 1 .. 5 LOOP
        tokens := event_store.tokens(decoded);
        IF EXISTS (
            SELECT FROM (SELECT DISTINCT t.token FROM unnest(tokens) AS t (token) WHERE length(t.token) <= 200) t
            CROSS JOIN LATERAL (
                SELECT x.digest FROM event_store.erased x
                WHERE x.digest = event_store.keyed_digest(key, t.token) AND x.tokens_digest IS NULL OFFSET 0
            ) x
            WHERE wanted IS NULL OR x.digest = wanted)
        THEN
            RETURN true;
        END IF;
        FOR how_many IN
            SELECT DISTINCT x.token_count FROM event_store.erased x
            WHERE x.tokens_digest IS NOT NULL AND x.token_count > 0
        LOOP
            IF EXISTS (
                SELECT FROM (
                    SELECT string_agg(t.token, ' ') OVER following AS joined, count(*) OVER following AS length
                    FROM unnest(tokens) WITH ORDINALITY AS t (token, n)
                    WINDOW following AS (ORDER BY t.n ROWS BETWEEN CURRENT ROW AND how_many - 1 FOLLOWING)
                ) s
                CROSS JOIN LATERAL (
                    SELECT x.digest FROM event_store.erased x
                    WHERE x.tokens_digest = event_store.keyed_digest(key, s.joined) AND x.token_count = how_many
                    OFFSET 0
                ) x
                WHERE s.length = how_many AND length(s.joined) <= 200 AND (wanted IS NULL OR x.digest = wanted))
            THEN
                RETURN true;
            END IF;
        END LOOP;
        plain := CASE WHEN strpos(decoded, '\') > 0 THEN event_store.decode_escapes(decoded) ELSE decoded END;
        EXIT WHEN plain = decoded;
        decoded := plain;
    END LOOP;
    RETURN false;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.names_erased FROM PUBLIC;
