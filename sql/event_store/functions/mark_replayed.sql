-- Close a dead letter whose replay succeeded.
CREATE OR REPLACE FUNCTION event_store.mark_replayed(letter_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET replayed_at = clock_timestamp()
    WHERE l.letter_id = mark_replayed.letter_id AND l.replayed_at IS NULL;
END;

REVOKE EXECUTE ON FUNCTION event_store.mark_replayed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mark_replayed TO progress_batch, progress_project;
