-- Remove and empty the judged entries of a dead letter. Return what is left of it; `is_gone` is true if nothing is
-- left. In a bundle, null replaces an entry that is emptied, and the other entries keep their text. If the whole
-- payload is emptied, return its size in bytes and its hash. Without nested loops, the time is linear in the number of
-- entries.
CREATE OR REPLACE FUNCTION event_store.erase_entries(
    INOUT payload text, INOUT attributes jsonb, INOUT indexes jsonb, judged event_store.judgement,
    OUT emptied_bytes integer, OUT emptied_sha256 text, OUT is_gone boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    content bytea := convert_to(payload, 'UTF8');
BEGIN
    IF indexes IS NOT NULL AND event_store.parse_payload(payload) IS NOT NULL THEN
        WITH kept AS (
            SELECT e.n, i.index, CASE WHEN m.n IS NOT NULL THEN 'null' ELSE e.entry::text END AS entry
            FROM json_array_elements(erase_entries.payload::json) WITH ORDINALITY AS e (entry, n)
            JOIN (
                SELECT g.index, row_number() OVER (ORDER BY g.index) AS n
                FROM jsonb_array_elements(erase_entries.indexes) AS r (run)
                CROSS JOIN generate_series((r.run ->> 0)::integer, (r.run ->> 1)::integer) AS g (index)
            ) i ON i.n = e.n
            LEFT JOIN unnest(judged.gone) AS g (n) ON g.n = e.n
            LEFT JOIN unnest(judged.emptied) AS m (n) ON m.n = e.n
            WHERE g.n IS NULL
        ), runs AS (
            SELECT min(k.index) AS first, max(k.index) AS last
            FROM (SELECT o.index, o.index - row_number() OVER (ORDER BY o.n) AS run FROM kept o) k
            GROUP BY k.run
        )
        SELECT '[' || string_agg(k.entry, ',' ORDER BY k.n) || ']',
            (SELECT jsonb_agg(jsonb_build_array(r.first, r.last) ORDER BY r.first) FROM runs r)
        INTO payload, indexes
        FROM kept k;
        is_gone := payload IS NULL;
    ELSE
        is_gone := judged.gone IS NOT NULL;
        emptied_bytes := octet_length(content);
        emptied_sha256 := encode(sha256(content), 'hex');
        payload := '';
        indexes := NULL;
    END IF;
    IF EXISTS (
        SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(attributes ->> 'user_id')
    ) THEN
        attributes := attributes - 'user_id';
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.erase_entries FROM PUBLIC;
