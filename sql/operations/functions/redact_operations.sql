-- Remove the learner's id from all operations other than `except_for`. Replace the id, and each JSON value that names
-- the learner, by the id's digest. Replace each error that mentions the learner by 'erased'. Return the number of
-- changed operations.
CREATE OR REPLACE FUNCTION operations.redact_operations(learner text, except_for uuid) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named  text := event_store.mention_pattern(learner, is_free => false);
    free   text := event_store.mention_pattern(learner, is_free => true);
    digest text := encode(event_store.erasure_digest(learner), 'hex');
    ids    uuid[];
BEGIN
    ids := ARRAY(SELECT operations.operations_of(learner) EXCEPT SELECT except_for);
    UPDATE operations.operations o
    SET started_by = CASE WHEN o.started_by = learner THEN digest ELSE o.started_by END,
        subject = CASE WHEN o.subject = learner THEN digest ELSE o.subject END,
        cancelled_by = CASE WHEN o.cancelled_by = learner THEN digest ELSE o.cancelled_by END,
        requesters = array_replace(o.requesters, learner, digest),
        arguments = CASE WHEN o.arguments::text ~ named THEN jsonb_build_object('erased', digest) ELSE o.arguments END,
        result = CASE WHEN o.result::text ~ named THEN jsonb_build_object('erased', digest) ELSE o.result END,
        error = CASE WHEN o.error ~ free THEN 'erased' ELSE o.error END,
        version = o.version + 1
    WHERE o.operation_id = ANY (ids);
    UPDATE operations.steps s
    SET error = CASE WHEN s.error ~ free THEN 'erased' ELSE s.error END,
        outcome = CASE WHEN s.outcome::text ~ named THEN jsonb_build_object('erased', digest) ELSE s.outcome END
    WHERE s.operation_id = ANY (ids) AND (s.error ~ free OR s.outcome::text ~ named);
    RETURN cardinality(ids);
END $$;

REVOKE EXECUTE ON FUNCTION operations.redact_operations FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.redact_operations TO progress_project;
