-- Return the ids of the learner's pending events: those that name the learner, or a session of the learner or of
-- another erased learner.
CREATE OR REPLACE FUNCTION event_store.pending_of(learner text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT p.event_id
FROM event_store.pending p
WHERE learner IN (p.event_data ->> 'user_id', p.metadata ->> 'user_id')
   OR p.session_id IN (SELECT s.session_id FROM event_store.sessions s WHERE s.user_id = learner)
   OR EXISTS (SELECT FROM event_store.sessions s
              WHERE s.session_id = encode(event_store.erasure_digest(p.session_id), 'hex') AND s.user_id = '')
$$;

REVOKE EXECUTE ON FUNCTION event_store.pending_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.pending_of TO progress_project;
