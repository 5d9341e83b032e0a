-- Read up to `at_most` dead letters whose ids follow `after`, in the order of their ids. Return those with entries of
-- erased learners or, if `wanted` is not null, of the learner with this digest. `reached` is the last id that was read,
-- or null if no dead letter was read. The dead letter of a poisoned event belongs to the learner of the event.
CREATE OR REPLACE FUNCTION event_store.letters_of(
    wanted bytea, after bigint, at_most integer, OUT letter_ids bigint[], OUT reached bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    SELECT array_agg(n.letter_id ORDER BY n.letter_id) FILTER (
            WHERE n.discard_reason IS DISTINCT FROM 'erased' AND CASE n.kind
                WHEN 'poisoned' THEN x.digest IS NOT NULL
                ELSE event_store.judge_letter(n.payload, n.attributes, n.indexes IS NOT NULL, NULL, NULL, wanted)
                    IS DISTINCT FROM NULL END),
        max(n.letter_id)
    INTO letter_ids, reached
    FROM (SELECT l.* FROM event_store.dead_letters l WHERE l.letter_id > after ORDER BY l.letter_id LIMIT at_most) n
    LEFT JOIN LATERAL (
        SELECT e.stream_id FROM event_store.events e
        WHERE n.kind = 'poisoned' AND e.global_position = substr(n.message_id, length('position-') + 1)::bigint
          AND e.stream_id LIKE 'learner-%'
        OFFSET 0
    ) e ON true
    LEFT JOIN LATERAL (
        SELECT x.digest FROM event_store.erased x
        WHERE x.digest = event_store.erasure_digest(substr(e.stream_id, length('learner-') + 1))
          AND (wanted IS NULL OR x.digest = wanted)
        OFFSET 0
    ) x ON true;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.letters_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.letters_of TO progress_project;
