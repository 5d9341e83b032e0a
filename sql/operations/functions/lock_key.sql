-- The key of the advisory lock that the worker of an operation holds as long as the worker's connection is open.
CREATE OR REPLACE FUNCTION operations.lock_key(operation_id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT
RETURN hashtextextended('operation ' || operation_id, 0);

REVOKE EXECUTE ON FUNCTION operations.lock_key FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.lock_key TO progress_project;
