-- Return the operations that name a learner.
CREATE OR REPLACE FUNCTION operations.operations_of(learner text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT o.operation_id
FROM operations.operations o, (
    SELECT event_store.mention_pattern(learner, is_free => false), event_store.mention_pattern(learner, is_free => true)
) m (named, free)
WHERE learner IN (o.started_by, o.subject, o.cancelled_by) OR learner = ANY (o.requesters)
   OR o.arguments::text ~ m.named OR o.result::text ~ m.named OR o.error ~ m.free
UNION
SELECT s.operation_id
FROM operations.steps s, (
    SELECT event_store.mention_pattern(learner, is_free => false), event_store.mention_pattern(learner, is_free => true)
) m (named, free)
WHERE s.outcome::text ~ m.named OR s.error ~ m.free
$$;

REVOKE EXECUTE ON FUNCTION operations.operations_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.operations_of TO progress_project;
