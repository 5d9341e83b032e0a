-- Return two values. is_known is true if the log has events of the learner. operation_id is the operation that erases
-- or has erased the learner. Exception: it is null as long as the operation is unfinished and its subject is the
-- learner's id, not yet the id's digest. The caller then calls accept(), which returns the operation.
CREATE OR REPLACE FUNCTION operations.find_erasure(learner text, OUT is_known boolean, OUT operation_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT
    EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || learner),
    (SELECT o.operation_id
     FROM event_store.erased x
     JOIN operations.operations o ON o.operation_id = x.operation_id
     WHERE x.digest = event_store.erasure_digest(learner)
       AND (o.finished_at IS NOT NULL OR o.subject IS DISTINCT FROM learner))
$$;

REVOKE EXECUTE ON FUNCTION operations.find_erasure FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.find_erasure TO progress_query;
