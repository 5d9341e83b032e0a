-- Store why the replay of a dead letter failed; the dead letter stays open.
CREATE OR REPLACE FUNCTION event_store.mark_failed(letter_id bigint, kind text, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET kind = mark_failed.kind, reason = mark_failed.reason
    WHERE l.letter_id = mark_failed.letter_id;
END;

REVOKE EXECUTE ON FUNCTION event_store.mark_failed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mark_failed TO progress_batch, progress_project;
