-- Ask the worker to stop and compensate. Return no row if the operation has finished or passed its point of no return.
-- If a failed operation is already being compensated, do not record the caller: the alert on failures leaves out
-- operations that a caller has cancelled, but it must count this failure.
CREATE OR REPLACE FUNCTION operations.cancel(operation_id uuid, caller text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.operations o
    SET cancelled_by = CASE WHEN o.failing_state IS NULL THEN coalesce(o.cancelled_by, cancel.caller)
                            ELSE o.cancelled_by END,
        version = o.version + 1
    WHERE o.operation_id = cancel.operation_id AND o.finished_at IS NULL AND NOT o.is_irrevocable
    RETURNING o.version;
END;

REVOKE EXECUTE ON FUNCTION operations.cancel FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.cancel TO progress_query;
