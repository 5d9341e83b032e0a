-- Replace the ids of at most at_most of the learner's sessions by their digests, and the learner's id by ''; return the
-- number of these sessions. The append computes the digest of each new event's session, and compares it.
CREATE OR REPLACE FUNCTION event_store.hide_sessions(learner text, at_most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
WITH hidden AS (
    UPDATE event_store.sessions s
    SET session_id = encode(event_store.erasure_digest(s.session_id), 'hex'), user_id = ''
    WHERE s.session_id IN (SELECT t.session_id FROM event_store.sessions t WHERE t.user_id = learner LIMIT at_most)
    RETURNING 1
)
SELECT count(*)::integer FROM hidden
$$;

REVOKE EXECUTE ON FUNCTION event_store.hide_sessions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.hide_sessions TO progress_project;
