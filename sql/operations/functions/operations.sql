-- The functions that start, cancel, retry, list and delete operations, and find and redact those that name an erased
-- learner (event_store/functions/erased_learners.sql erases the learner from the log).

-- The key of the advisory lock that the worker of an operation holds as long as the worker's connection is open.
CREATE OR REPLACE FUNCTION operations.lock_key(operation_id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT
RETURN hashtextextended('operation ' || operation_id, 0);

-- Return the operation that this caller has started with this key. If there is none, return the unfinished operation of
-- this kind about the same subject. If there is none either, start an operation.
-- is_same is true if the operation has these arguments, by_key if the caller has used the key before. daily_limit is
-- the number of operations of this kind about this subject that the caller may start within 24 hours. Failed operations
-- do not count. If daily_limit is null, there is no limit. If the caller has reached the limit, operation_id is null,
-- and the caller may start another operation after retry_after_s. If the caller is erased, or the learner whose record
-- is to be exported, all columns are null. In place of other erased learners, the arguments get their digests.
CREATE OR REPLACE FUNCTION operations.accept(
    kind text, started_by text, key text, arguments jsonb, steps text[], subject text, time_limit_s double precision,
    daily_limit integer,
    OUT operation_id uuid, OUT is_same boolean, OUT by_key boolean, OUT is_finished boolean, OUT retry_after_s integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $$
#variable_conflict use_column
DECLARE
    digest bytea := sha256(convert_to(accept.key, 'UTF8'));
BEGIN
    -- Nobody is erased between the check and the end of the transaction.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
    -- Callers that are not people have names that begin with 'system:', see operations_of.
    IF (accept.started_by NOT LIKE 'system:%' OR accept.subject = accept.started_by)
            AND event_store.is_erased(accept.started_by)
        OR accept.kind = 'EXPORT_USER' AND event_store.is_erased(accept.subject)
    THEN
        RETURN;
    END IF;
    IF jsonb_typeof(accept.arguments -> 'learners') = 'array' THEN
        accept.arguments := jsonb_set(accept.arguments, '{learners}', (
            SELECT coalesce(jsonb_agg(coalesce(encode(x.digest, 'hex'), l.id) ORDER BY l.n), '[]')
            FROM jsonb_array_elements_text(accept.arguments -> 'learners') WITH ORDINALITY AS l (id, n)
            LEFT JOIN event_store.erased x ON x.digest = event_store.erasure_digest(l.id)));
    END IF;
    LOOP
        INSERT INTO operations.operations AS o
            (kind, started_by, key_digest, arguments, subject, requesters, expires_at)
        VALUES (accept.kind, accept.started_by, digest, accept.arguments, accept.subject, ARRAY[accept.started_by],
            clock_timestamp() + make_interval(secs => accept.time_limit_s))
        ON CONFLICT DO NOTHING
        RETURNING o.operation_id, true, false, false
        INTO accept.operation_id, accept.is_same, accept.by_key, accept.is_finished;
        IF FOUND THEN
            -- Concurrent requests about the subject conflict with the new row, so they wait for the end of this
            -- transaction. Each request therefore counts all earlier requests.
            SELECT ceil(extract(epoch FROM min(o.started_at) + INTERVAL '24 hours' - clock_timestamp()))
            INTO accept.retry_after_s
            FROM operations.operations o
            WHERE o.kind = accept.kind AND o.started_by = accept.started_by AND o.subject = accept.subject
              AND o.state NOT IN ('FAILED', 'TIMED_OUT') AND o.started_at > clock_timestamp() - INTERVAL '24 hours'
            HAVING count(*) > accept.daily_limit;
            IF FOUND THEN
                DELETE FROM operations.operations o WHERE o.operation_id = accept.operation_id;
                accept.operation_id := NULL;
                RETURN;
            END IF;
            INSERT INTO operations.steps (operation_id, place, name)
            SELECT accept.operation_id, s.place, s.name FROM unnest(accept.steps) WITH ORDINALITY AS s (name, place);
            RETURN;
        END IF;
        UPDATE operations.operations o SET requesters = ARRAY(SELECT DISTINCT unnest(o.requesters || accept.started_by))
        FROM (
            SELECT f.operation_id, f.started_by = accept.started_by AND f.key_digest = digest AS by_key
            FROM operations.operations f
            WHERE f.kind = accept.kind AND (f.started_by = accept.started_by AND f.key_digest = digest
                OR f.subject = accept.subject AND f.finished_at IS NULL)
            ORDER BY by_key DESC LIMIT 1) f
        WHERE o.operation_id = f.operation_id
        RETURNING o.operation_id, o.arguments = accept.arguments, f.by_key, o.finished_at IS NOT NULL
        INTO accept.operation_id, accept.is_same, accept.by_key, accept.is_finished;
        EXIT WHEN FOUND;  -- not found: the conflicting operation has ended meanwhile, so try again
    END LOOP;
END $$;

-- Ask the worker to stop and compensate. Return no row if the operation has finished or passed its point of no return.
-- If a failed operation is already being compensated, do not record the caller: the alert on failures leaves out
-- operations that a caller has cancelled, but it must count this failure.
CREATE OR REPLACE FUNCTION operations.cancel(operation_id uuid, caller text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.operations o
    SET cancelled_by = CASE WHEN o.failing_state IS NULL THEN coalesce(o.cancelled_by, cancel.caller)
                            ELSE o.cancelled_by END,
        version = o.version + 1
    WHERE o.operation_id = cancel.operation_id AND o.finished_at IS NULL AND NOT o.is_irrevocable
    RETURNING o.version;
END;

-- If an operation failed after its point of no return, make it pending again, so that it resumes. Return null if the
-- operation cannot resume, or if another unfinished operation has the same subject.
CREATE OR REPLACE FUNCTION operations.retry(operation_id uuid, time_limit_s double precision, OUT version bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE operations.operations o
    SET state = 'PENDING', finished_at = NULL, error = NULL, version = o.version + 1,
        expires_at = clock_timestamp() + make_interval(secs => retry.time_limit_s)
    WHERE o.operation_id = retry.operation_id AND o.state IN ('FAILED', 'TIMED_OUT') AND o.is_irrevocable
    RETURNING o.version INTO retry.version;
    UPDATE operations.steps s SET state = 'PENDING', attempts = 0
    WHERE s.operation_id = retry.operation_id AND s.state <> 'SUCCEEDED' AND retry.version IS NOT NULL;
EXCEPTION WHEN unique_violation THEN
    version := NULL;
END $$;

-- List the unfinished operations that no worker has claimed, oldest first. Read the locks from pg_locks, because taking
-- a lock, even briefly, might keep a worker from claiming the operation.
CREATE OR REPLACE FUNCTION operations.list_unclaimed() RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT o.operation_id FROM operations.operations o
    WHERE o.finished_at IS NULL AND NOT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND (l.classid::bigint << 32 | l.objid::bigint) = operations.lock_key(o.operation_id))
    ORDER BY o.number;
END;

-- Return true if a batch run must start the operation ARCHIVE. This is the case if at least range_length events are not
-- archived yet, or if the oldest of them is older than max_age. The caller starts at most one operation a day, because
-- it uses the date as the operation's key (see accept()).
CREATE OR REPLACE FUNCTION operations.archive_is_due(range_length bigint, max_age interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH archived AS (
        SELECT coalesce(max(CAST(s.outcome ->> 'upto' AS bigint)), 0) AS upto
        FROM operations.operations o JOIN operations.steps s USING (operation_id)
        WHERE o.kind = 'ARCHIVE' AND s.name = 'write' AND s.state = 'SUCCEEDED'
    )
    SELECT a.upto + archive_is_due.range_length <= (SELECT max(e.global_position) FROM event_store.events e)
        OR EXISTS (
            SELECT FROM event_store.events e
            WHERE e.global_position = a.upto + 1 AND e.created_at < clock_timestamp() - archive_is_due.max_age)
    FROM archived a;
END;

-- Count the operations that failed or timed out within the last hour, the overdue operations, and those that have begun
-- and have not ended. An operation is overdue if it is unfinished more than an hour after its start or retry. For an
-- erasure, this limit is 24 hours. The query derives the time of the start or retry from expires_at, which is a fixed
-- time later: 24 hours or, for an erasure, 14 days. A cancelled operation counts as failed only if a step could not be
-- compensated.
DROP FUNCTION IF EXISTS operations.count_problems();  -- an earlier one returned fewer columns
CREATE OR REPLACE FUNCTION operations.count_problems(OUT failed bigint, OUT overdue bigint, OUT running bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT
        (SELECT count(*) FROM operations.operations o
         WHERE o.finished_at > clock_timestamp() - interval '1 hour' AND o.state IN ('FAILED', 'TIMED_OUT')
           AND (o.cancelled_by IS NULL OR o.error LIKE '%; not compensated: %')),
        (SELECT count(*) FROM operations.operations o
         WHERE o.finished_at IS NULL AND o.expires_at < clock_timestamp()
             + CASE o.kind WHEN 'ERASE_USER' THEN interval '13 days' ELSE interval '23 hours' END),
        (SELECT count(*) FROM operations.operations o WHERE o.state IN ('RUNNING', 'COMPENSATING'));
END;

-- Delete the operations that finished more than 400 days ago, including cancelled erasures. Keep a failed erasure,
-- because an administrator must complete it. If another erasure of the learner has succeeded, do not keep the failed
-- one. A successful erasure replaces the learner's id by its digest in all erasures of the learner, so that they have
-- the same subject.
CREATE OR REPLACE FUNCTION operations.delete_finished() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM operations.operations o
    WHERE o.finished_at < clock_timestamp() - INTERVAL '400 days'
      AND (o.kind <> 'ERASE_USER' OR o.state = 'SUCCEEDED' OR o.cancelled_by IS NOT NULL OR EXISTS (
          SELECT FROM operations.operations d
          WHERE d.kind = 'ERASE_USER' AND d.state = 'SUCCEEDED' AND d.subject = o.subject));
END;

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
        IF NEW.kind = 'EXPORT_STATISTICS' AND NEW.subject = caller THEN   -- one for each caller
            NEW.subject := encode(digest, 'hex');
        END IF;
    END LOOP;
    RETURN NEW;
END $$;
