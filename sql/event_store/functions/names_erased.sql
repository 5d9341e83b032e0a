-- Return whether the id of an erased learner is one of the tokens of a text that is not a JSON object. If `wanted` is
-- not null, return whether this is the learner with this digest. JSON escapes are decoded up to four times, because a
-- JSON string may itself hold JSON; in a long text, they are decoded once. An id that contains separators is compared
-- with every sequence of as many tokens.
CREATE OR REPLACE FUNCTION event_store.names_erased(content text, wanted bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key      event_store.erasure_key;
    decoded  text := content;
    plain    text;
    tokens   text[];
    joined   bytea;
    how_many integer;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    FOR level IN 1 .. CASE WHEN length(content) > 65536 THEN 2 ELSE 5 END LOOP
        tokens := event_store.tokens(decoded);
        IF EXISTS (
            SELECT FROM (SELECT DISTINCT t.token FROM unnest(tokens) AS t (token) WHERE length(t.token) <= 200) t
            -- OFFSET 0 makes the plan look up each digest by key.
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
            joined := convert_to(array_to_string(tokens, ' '), 'UTF8');
            IF EXISTS (
                SELECT FROM (
                    SELECT t.stop - octet_length(t.token) AS start,
                        lead(t.stop, how_many - 1) OVER (ORDER BY t.n) AS stop
                    FROM (
                        SELECT u.token, u.n, sum(octet_length(u.token) + 1) OVER (ORDER BY u.n)::integer AS stop
                        FROM unnest(tokens) WITH ORDINALITY AS u (token, n)
                    ) t
                ) s
                CROSS JOIN LATERAL (
                    SELECT x.digest FROM event_store.erased x
                    WHERE x.token_count = how_many AND x.tokens_digest = sha256(key.outer_key
                        || sha256(key.inner_key || substring(joined FROM s.start FOR s.stop - s.start)))
                    OFFSET 0
                ) x
                WHERE s.stop - s.start <= 800 AND (wanted IS NULL OR x.digest = wanted))
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
