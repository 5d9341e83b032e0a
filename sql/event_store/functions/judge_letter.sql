-- Decide which entries of a dead letter belong to erased learners or, if `wanted` is not null, to the learner with this
-- digest. Return null if there are none.
--
-- An entry that is a JSON object belongs to the learner whom its fields name: the first of data.user_id,
-- metadata.user_id, the attribute user_id and the learner of the session data.session_id. `learner` and `session_id`
-- are the ids that ingest has read from the event, because addresses are masked in the payload. Any other entry has no
-- fields; it belongs to a learner whose id is one of its tokens.
CREATE OR REPLACE FUNCTION event_store.judge_letter(
    payload text, attributes jsonb, is_bundle boolean, learner text, session_id text, wanted bytea
) RETURNS event_store.judgement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key    event_store.erasure_key;
    body   json := event_store.parse_payload(payload);
    judged event_store.judgement;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    IF NOT is_bundle THEN
        body := CASE WHEN json_typeof(body) = 'object' THEN json_build_array(body) END;
    END IF;
    SELECT array_agg(i.n ORDER BY i.n) INTO judged.gone
    FROM (
        -- If a field occurs twice, the last one counts, as in ingest. The operator #> would also read the first one.
        SELECT e.n, coalesce(judge_letter.learner, event_store.id_in(e.entry -> 'data' -> 'user_id'),
                event_store.id_in(e.entry -> 'metadata' -> 'user_id'), nullif(attributes ->> 'user_id', '')) AS learner,
            coalesce(judge_letter.session_id, event_store.id_in(e.entry -> 'data' -> 'session_id')) AS session_id
        FROM json_array_elements(body) WITH ORDINALITY AS e (entry, n)
        WHERE json_typeof(e.entry) = 'object'
        OFFSET 0                       -- otherwise, each use of an id would parse the entry again
    ) i
    -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
    LEFT JOIN LATERAL (
        SELECT s.user_id FROM event_store.sessions s WHERE i.learner IS NULL AND s.session_id = i.session_id OFFSET 0
    ) known ON true
    LEFT JOIN LATERAL (
        SELECT s.user_id FROM event_store.sessions s
        WHERE i.learner IS NULL AND s.session_id = encode(event_store.keyed_digest(key, i.session_id), 'hex') OFFSET 0
    ) hidden ON true
    LEFT JOIN LATERAL (
        SELECT x.digest FROM event_store.erased x
        WHERE x.digest = event_store.keyed_digest(key, coalesce(i.learner, known.user_id)) OFFSET 0
    ) x ON true
    WHERE (i.learner IS NOT NULL OR i.session_id IS NOT NULL)
      AND (x.digest IS NOT NULL AND (wanted IS NULL OR x.digest = wanted) OR hidden.user_id = '');

    -- The tokens of the whole payload contain the tokens of its entries. Split the entries only if the payload matches.
    IF (body IS NULL OR EXISTS (
            SELECT FROM json_array_elements(body) AS e (entry) WHERE json_typeof(e.entry) <> 'object'))
        AND event_store.names_erased(payload, wanted)
    THEN
        IF body IS NULL THEN
            judged.emptied := '{1}';
        ELSE
            SELECT array_agg(e.n ORDER BY e.n) INTO judged.emptied
            FROM json_array_elements(payload::json) WITH ORDINALITY AS e (entry, n)
            WHERE json_typeof(e.entry) <> 'object' AND event_store.names_erased(e.entry::text, wanted);
        END IF;
    END IF;
    RETURN CASE WHEN judged.gone IS NOT NULL OR judged.emptied IS NOT NULL THEN judged END;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.judge_letter FROM PUBLIC;
