-- Read up to `at_most` events of undeclared types that name no learner, beginning after the given stream and version.
-- Return the positions of two kinds of these events. An event of the first kind names a session of the learner, but
-- arrived before the session's first SessionStarted. An event of the second kind names a session whose SessionStarted
-- was dropped, because the session's learner is erased. `reached_…` are the stream and the version of the last event
-- that was read; null if there was none.
CREATE OR REPLACE FUNCTION event_store.undeclared_of(
    learner text, after_stream text, after_version bigint, at_most integer,
    OUT positions bigint[], OUT reached_stream text, OUT reached_version bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    WITH next AS MATERIALIZED (
        SELECT e.global_position, e.stream_id, e.stream_version, e.event_data ->> 'session_id' AS session_id
        FROM event_store.events e
        WHERE (e.stream_id, e.stream_version) > (after_stream, after_version) AND e.stream_id < 'other.'
        ORDER BY e.stream_id, e.stream_version
        LIMIT at_most
    )
    SELECT coalesce(array_agg(n.global_position) FILTER (WHERE n.session_id IS NOT NULL AND (
            EXISTS (SELECT FROM event_store.sessions s WHERE s.session_id = n.session_id AND s.user_id = learner)
            OR EXISTS (SELECT FROM event_store.sessions s
                       WHERE s.session_id = encode(event_store.erasure_digest(n.session_id), 'hex')))), '{}'),
        (array_agg(n.stream_id ORDER BY n.stream_id DESC, n.stream_version DESC))[1],
        (array_agg(n.stream_version ORDER BY n.stream_id DESC, n.stream_version DESC))[1]
    INTO positions, reached_stream, reached_version
    FROM next n;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.undeclared_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.undeclared_of TO progress_project, progress_erasure;
