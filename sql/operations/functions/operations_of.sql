-- Return the operations that name a learner in a field of their arguments and, if they have finished, as their subject
-- or as a caller. When an unfinished operation ends, forget_callers removes the ids of erased callers. Callers that are
-- not people have names that begin with 'system:', and a learner may have the same id.
CREATE OR REPLACE FUNCTION operations.operations_of(learner text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT o.operation_id
FROM operations.operations o
WHERE o.arguments ->> 'user_id' = learner OR o.arguments -> 'learners' ? learner
   OR o.finished_at IS NOT NULL AND (
       learner NOT LIKE 'system:%' AND learner = ANY (o.requesters || o.started_by || o.cancelled_by)
       OR o.subject = learner AND o.kind IN ('ERASE_USER', 'EXPORT_USER', 'EXPORT_STATISTICS'))
$$;

REVOKE EXECUTE ON FUNCTION operations.operations_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.operations_of TO progress_project;
