-- Read up to `at_most` dead letters whose ids follow `after`, in the order of their ids. Return the ids of those that
-- name the learner or a session of the learner. `reached` is the last id that was read, or null if no dead letter was
-- read.
CREATE OR REPLACE FUNCTION event_store.letters_of(
    learner text, after bigint, at_most integer, OUT letter_ids bigint[], OUT reached bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    named text := event_store.mention_pattern(learner, is_free => false);
    free  text := event_store.mention_pattern(learner, is_free => true);
    forms text[] := event_store.mention_forms(learner);
BEGIN
    WITH next AS MATERIALIZED (
        SELECT l.*, event_store.letter_text(l.payload, l.kind) AS text
        FROM event_store.dead_letters l WHERE l.letter_id > after ORDER BY l.letter_id LIMIT at_most
    )
    SELECT array_agg(l.letter_id) FILTER (WHERE l.discard_reason IS DISTINCT FROM 'erased' AND (
            event_store.mentions(l.text, forms, CASE WHEN l.kind = 'malformed' THEN free ELSE named END)
            OR event_store.mentions(l.reason, forms, free) OR event_store.mentions(l.event_id, forms, free)
            OR event_store.mentions(l.event_type, forms, free) OR event_store.mentions(l.attributes::text, forms, named)
            OR EXISTS (
                SELECT FROM event_store.words(l.text) w (word)
                -- OFFSET 0 makes the plan look up each session by key instead of reading all sessions.
                CROSS JOIN LATERAL (
                    SELECT s.user_id FROM event_store.sessions s WHERE s.session_id = w.word OFFSET 0
                ) s
                WHERE s.user_id = learner))),
        max(l.letter_id)
    INTO letter_ids, reached
    FROM next l;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.letters_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.letters_of TO progress_project;
