-- Delete the pending events of an erased learner.
CREATE OR REPLACE FUNCTION event_store.delete_pending(learner text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM event_store.pending p WHERE p.event_id IN (SELECT event_store.pending_of(learner));
END $$;

REVOKE EXECUTE ON FUNCTION event_store.delete_pending FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.delete_pending TO progress_project;
