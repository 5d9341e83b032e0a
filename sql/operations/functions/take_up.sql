-- Claim an operation and reset its steps; the caller holds its lock. Return no row if the operation is finished.
CREATE OR REPLACE FUNCTION operations.take_up(operation_id uuid)
RETURNS TABLE (kind text, arguments jsonb, version bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = 'PENDING'
    FROM operations.operations o
    WHERE s.operation_id = take_up.operation_id AND o.operation_id = s.operation_id AND o.finished_at IS NULL;
    UPDATE operations.operations o SET state = 'RUNNING', version = o.version + 1
    WHERE o.operation_id = take_up.operation_id AND o.finished_at IS NULL
    RETURNING o.kind, o.arguments, o.version;
END;

REVOKE EXECUTE ON FUNCTION operations.take_up FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.take_up TO progress_project;
