-- Finish an operation and its running step in the same state. Return the new version; null if it was finished before.
CREATE OR REPLACE FUNCTION operations.finish(operation_id uuid, state text, error text, result jsonb) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = finish.state, error = finish.error
    FROM operations.operations o
    WHERE s.operation_id = finish.operation_id AND s.state = 'RUNNING'
      AND o.operation_id = s.operation_id AND o.finished_at IS NULL;
    UPDATE operations.operations o SET state = finish.state, error = finish.error, result = finish.result,
        progress = CASE WHEN finish.state = 'SUCCEEDED' THEN 1 ELSE o.progress END,
        finished_at = clock_timestamp(), version = o.version + 1
    WHERE o.operation_id = finish.operation_id AND o.finished_at IS NULL
    RETURNING o.version;
END;

REVOKE EXECUTE ON FUNCTION operations.finish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.finish TO progress_project;
