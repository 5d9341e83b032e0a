-- Undo set_aside for a `poisoned` dead letter, so that the next refold of the learner includes the event. Return the
-- event's position; null if the event was not set aside.
CREATE OR REPLACE FUNCTION event_store.take_back(letter_id bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH taken AS (
        DELETE FROM event_store.poisoned p USING event_store.dead_letters l
        WHERE l.letter_id = take_back.letter_id AND l.kind = 'poisoned'
          AND l.message_id = 'position-' || p.global_position
        RETURNING p.global_position
    )
    SELECT t.global_position FROM taken t;
END;

REVOKE EXECUTE ON FUNCTION event_store.take_back FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.take_back TO progress_project;
