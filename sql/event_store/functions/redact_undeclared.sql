-- Remove the contents of the events that undeclared_of returns for the same arguments. Return the number of these
-- events, and the last stream and version that were read. The events stay in their streams, because events of other
-- learners follow in these streams, and the versions of a stream must stay 1, 2, 3 … without gaps.
CREATE OR REPLACE FUNCTION event_store.redact_undeclared(
    learner text, after_stream text, after_version bigint, at_most integer,
    OUT redacted integer, OUT reached_stream text, OUT reached_version bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    positions bigint[];
BEGIN
    SELECT u.positions, u.reached_stream, u.reached_version INTO positions, reached_stream, reached_version
    FROM event_store.undeclared_of(learner, after_stream, after_version, at_most) u;
    UPDATE event_store.events e
    SET event_id = gen_random_uuid(), event_type = 'Erased', event_data = '{}', metadata = '{}',
        occurred_at = e.created_at
    WHERE e.global_position = ANY (positions);
    redacted := cardinality(positions);
END $$;

ALTER FUNCTION event_store.redact_undeclared OWNER TO progress_erasure;
REVOKE EXECUTE ON FUNCTION event_store.redact_undeclared FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.redact_undeclared TO progress_project;
