-- Begin an attempt of a step, and mark the running step as succeeded. Return no row if the step already had
-- most_attempts.
CREATE OR REPLACE FUNCTION operations.begin_step(operation_id uuid, name text, most_attempts integer)
RETURNS TABLE (attempts integer, version bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE operations.steps s SET state = 'SUCCEEDED', error = NULL
    WHERE s.operation_id = begin_step.operation_id AND s.state = 'RUNNING';
    UPDATE operations.steps s SET state = 'RUNNING', attempts = s.attempts + 1
    WHERE s.operation_id = begin_step.operation_id AND s.name = begin_step.name
      AND s.attempts < begin_step.most_attempts
    RETURNING s.attempts INTO begin_step.attempts;
    IF FOUND THEN
        UPDATE operations.operations o SET version = o.version + 1
        WHERE o.operation_id = begin_step.operation_id
        RETURNING o.version INTO begin_step.version;
        RETURN NEXT;
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION operations.begin_step FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.begin_step TO progress_project;
