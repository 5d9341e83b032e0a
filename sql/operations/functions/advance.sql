-- Raise the progress of an operation; it never falls, even if a step starts again. Return the new version; null if
-- nothing changed.
CREATE OR REPLACE FUNCTION operations.advance(operation_id uuid, progress double precision) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.operations o SET progress = advance.progress, version = o.version + 1
    WHERE o.operation_id = advance.operation_id AND o.finished_at IS NULL AND o.progress < advance.progress
    RETURNING o.version;
END;

REVOKE EXECUTE ON FUNCTION operations.advance FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.advance TO progress_project;
