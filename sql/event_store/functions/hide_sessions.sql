-- Read up to `at_most` sessions whose ids follow `after`, in the order of their ids. If a session belongs to the
-- learner, replace the session's id by its digest, and the learner's id by ''. Return the last id that was read, or
-- null if no session was read. The append still recognizes these sessions, because it also looks up the digest of each
-- session id.
CREATE OR REPLACE FUNCTION event_store.hide_sessions(learner text, after text, at_most integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    hidden  text[];
    reached text;
BEGIN
    SELECT array_agg(n.session_id) FILTER (WHERE n.user_id = learner), max(n.session_id) INTO hidden, reached
    FROM (
        SELECT s.session_id, s.user_id FROM event_store.sessions s
        WHERE s.session_id > after ORDER BY s.session_id LIMIT at_most) n;
    UPDATE event_store.sessions s
    SET session_id = encode(event_store.erasure_digest(s.session_id), 'hex'), user_id = ''
    WHERE s.session_id = ANY (hidden);
    RETURN reached;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.hide_sessions(text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.hide_sessions(text, text, integer) TO progress_project;
