-- Replace the learner's id by the id's digest in the finished operations that name the learner, and in the unfinished
-- operation `own`, which erases the learner. Other unfinished operations are never changed, because their workers need
-- their arguments. In an operation about the learner, also replace the errors by 'erased'. Return the number of changed
-- operations other than `own`.
CREATE OR REPLACE FUNCTION operations.redact_operations(learner text, own uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    digest text := encode(event_store.erasure_digest(learner), 'hex');
    ids    uuid[];
    caller text := CASE WHEN learner NOT LIKE 'system:%' THEN learner END;
BEGIN
    ids := ARRAY(
        SELECT o.operation_id FROM operations.operations o
        WHERE o.operation_id IN (SELECT operations.operations_of(learner))
          AND o.finished_at IS NOT NULL AND o.operation_id IS DISTINCT FROM own);
    UPDATE operations.steps s SET error = 'erased'
    FROM operations.operations o
    WHERE o.operation_id = s.operation_id AND s.operation_id = ANY (ids || own) AND s.error IS NOT NULL
      AND (o.arguments ->> 'user_id' = learner OR o.arguments -> 'learners' ? learner);
    UPDATE operations.operations o
    SET started_by = CASE WHEN o.started_by = caller THEN digest ELSE o.started_by END,
        cancelled_by = CASE WHEN o.cancelled_by = caller THEN digest ELSE o.cancelled_by END,
        requesters = CASE WHEN caller IS NULL THEN o.requesters ELSE array_replace(o.requesters, caller, digest) END,
        subject = CASE WHEN o.subject = learner AND o.kind IN ('ERASE_USER', 'EXPORT_USER', 'EXPORT_STATISTICS')
                       THEN digest ELSE o.subject END,
        arguments = CASE
            WHEN o.arguments ->> 'user_id' = learner THEN jsonb_build_object('erased', digest)
            WHEN o.arguments -> 'learners' ? learner THEN jsonb_set(o.arguments, '{learners}',
                (o.arguments -> 'learners') - learner || to_jsonb(digest))
            ELSE o.arguments END,
        error = CASE WHEN o.arguments ->> 'user_id' = learner OR o.arguments -> 'learners' ? learner
                     THEN regexp_replace(o.error, '^.*$', 'erased', 's') ELSE o.error END,
        version = o.version + 1
    WHERE o.operation_id = ANY (ids || own);
    RETURN cardinality(ids);
END $$;

REVOKE EXECUTE ON FUNCTION operations.redact_operations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.redact_operations TO progress_project;
