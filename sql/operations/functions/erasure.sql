-- The operations that name an erased learner. event_store/functions/erasure.sql erases the learner from the log.

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

-- Trigger function: in an operation that ends, replace the ids of erased callers by the ids' digests. An erasure does
-- not change the unfinished operations that the learner has started.
CREATE OR REPLACE FUNCTION operations.forget_callers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text;
    digest bytea;
BEGIN
    FOR caller, digest IN
        SELECT c.caller, x.digest
        FROM (SELECT DISTINCT unnest(NEW.requesters || NEW.started_by || NEW.cancelled_by)) AS c (caller)
        JOIN event_store.erased x ON x.digest = event_store.erasure_digest(c.caller)
        WHERE c.caller NOT LIKE 'system:%'
    LOOP
        NEW.requesters := array_replace(NEW.requesters, caller, encode(digest, 'hex'));
        NEW.started_by := CASE NEW.started_by WHEN caller THEN encode(digest, 'hex') ELSE NEW.started_by END;
        NEW.cancelled_by := CASE NEW.cancelled_by WHEN caller THEN encode(digest, 'hex') ELSE NEW.cancelled_by END;
    END LOOP;
    RETURN NEW;
END $$;

REVOKE EXECUTE ON FUNCTION operations.find_erasure, operations.operations_of, operations.redact_operations,
    operations.forget_callers FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.find_erasure TO progress_query;
GRANT EXECUTE ON FUNCTION operations.operations_of, operations.redact_operations TO progress_project;
