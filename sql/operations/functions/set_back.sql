-- Store the error of a failed attempt that will be repeated. Return the new version; null if the operation is finished.
CREATE OR REPLACE FUNCTION operations.set_back(operation_id uuid, error text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = 'PENDING', error = set_back.error
    WHERE s.operation_id = set_back.operation_id AND s.state = 'RUNNING';
    UPDATE operations.operations o SET version = o.version + 1
    WHERE o.operation_id = set_back.operation_id AND o.finished_at IS NULL
    RETURNING o.version;
END;

REVOKE EXECUTE ON FUNCTION operations.set_back FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.set_back TO progress_project;
