-- Count a learner's events, sessions, pending events, snapshots and poisoned events, for the receipt of an erasure.
-- Other statements count the learner's dead letters and operations.
CREATE OR REPLACE FUNCTION event_store.count_of_learner(
    learner text, OUT events bigint, OUT sessions bigint, OUT pending bigint, OUT snapshots bigint, OUT poisoned bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
SELECT
    (SELECT count(*) FROM event_store.events e WHERE e.stream_id = 'learner-' || learner),
    (SELECT count(*) FROM event_store.sessions s WHERE s.user_id = learner),
    (SELECT count(*) FROM event_store.pending_of(learner)),
    (SELECT count(*) FROM event_store.snapshots s WHERE s.stream_id = 'learner-' || learner),
    (SELECT count(*) FROM event_store.poisoned p JOIN event_store.events e USING (global_position)
     WHERE e.stream_id = 'learner-' || learner)
INTO events, sessions, pending, snapshots, poisoned;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.count_of_learner FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.count_of_learner TO progress_project;
