-- Renew the planner's statistics of the log's tables, because they hold values from rows that were erased.
CREATE OR REPLACE FUNCTION event_store.analyze_log() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    ANALYZE event_store.events, event_store.sessions, event_store.pending, event_store.dead_letters,
        event_store.poisoned, event_store.snapshots, operations.operations, operations.steps;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.analyze_log FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.analyze_log TO progress_project;
