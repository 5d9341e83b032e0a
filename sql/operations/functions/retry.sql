-- If an operation failed after its point of no return, make it pending again, so that it resumes. Return null if the
-- operation cannot resume, or if another unfinished operation has the same subject.
CREATE OR REPLACE FUNCTION operations.retry(operation_id uuid, time_limit_s double precision, OUT version bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE operations.operations o
    SET state = 'PENDING', finished_at = NULL, error = NULL, version = o.version + 1,
        expires_at = clock_timestamp() + make_interval(secs => retry.time_limit_s)
    WHERE o.operation_id = retry.operation_id AND o.state IN ('FAILED', 'TIMED_OUT') AND o.is_irrevocable
    RETURNING o.version INTO retry.version;
    UPDATE operations.steps s SET state = 'PENDING', attempts = 0
    WHERE s.operation_id = retry.operation_id AND s.state <> 'SUCCEEDED' AND retry.version IS NOT NULL;
EXCEPTION WHEN unique_violation THEN
    version := NULL;
END $$;

REVOKE EXECUTE ON FUNCTION operations.retry FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.retry TO progress_query;
