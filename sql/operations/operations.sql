-- Operations: start, cancel, retry and read them; then the statements of the worker that runs an operation
-- (progress/operations/claimed_operations.py), and what the batch job deletes and erases after a retention period.

-- accept --
SELECT operation_id, is_same, by_key, is_finished, retry_after_s
FROM operations.accept(:kind, :started_by, :key, CAST(:arguments AS jsonb), CAST(:steps AS text[]), :subject,
    CAST(:time_limit_s AS double precision), CAST(:daily_limit AS integer));

-- cancel --
SELECT operations.cancel(CAST(:operation_id AS uuid), :caller) AS version;

-- retry --
SELECT operations.retry(CAST(:operation_id AS uuid), CAST(:time_limit_s AS double precision)) AS version;

-- list unclaimed --
SELECT operations.list_unclaimed();

-- archive is due --
SELECT operations.archive_is_due(CAST(:range_length AS bigint), make_interval(days => CAST(:max_age_days AS integer))),
    CAST(CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date) AS text);

-- operations by id --
SELECT o.* FROM operations.records o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));

-- newest operations --
-- The newest operations whose number is below :before; if :before is null, the newest of all.
SELECT o.* FROM operations.records o
WHERE o.number < coalesce(CAST(:before AS bigint), 9223372036854775807)
ORDER BY o.number DESC
LIMIT CAST(:first AS bigint);

-- operation versions --
-- Read only the versions. A caller that polls for changes needs no more, because it compares the versions.
SELECT CAST(o.operation_id AS text) AS id, o.version
FROM operations.operations o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));

-- lock operation --
SELECT pg_try_advisory_lock(operations.lock_key(CAST(:operation_id AS uuid)));

-- claim --
-- Returns no row if the operation has finished. `names` are the steps that were stored when the operation was accepted,
-- perhaps by older code. `begun` are the steps that may have had effects and have not been undone. If an outage ends an
-- attempt, the step stores the error, but `attempts` does not count this attempt. A step with an error has therefore
-- begun, even if its `attempts` is 0.
UPDATE operations.operations o
SET state = CASE o.state WHEN 'PENDING' THEN 'RUNNING' ELSE o.state END, version = o.version + 1
FROM (
    SELECT coalesce(jsonb_object_agg(s.name, s.outcome) FILTER (WHERE s.state = 'SUCCEEDED'), '{}') AS outcomes,
        array_agg(s.name) FILTER (WHERE (s.attempts > 0 OR s.error IS NOT NULL) AND NOT s.is_compensated) AS begun,
        array_agg(s.name) AS names
    FROM operations.steps s WHERE s.operation_id = CAST(:operation_id AS uuid)) s
WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.finished_at IS NULL
RETURNING o.kind, o.arguments, o.is_irrevocable, o.failing_state, o.error, s.outcomes, s.begun, s.names;

-- restart --
-- Reset all steps. This is for the kinds of operations that start over after their worker died. For each
-- completed step, subtract the successful attempt, so that only unsuccessful attempts count.
UPDATE operations.steps s
SET attempts = s.attempts - CASE s.state WHEN 'SUCCEEDED' THEN 1 ELSE 0 END, state = 'PENDING', outcome = NULL
WHERE s.operation_id = CAST(:operation_id AS uuid);

-- record step --
-- Set the state of a step. If it has succeeded, the operation's progress is at least the share of the steps that have.
-- When an attempt begins, add 1 to `attempts`. When an outage has ended the attempt, subtract 1 again. An attempt to
-- compensate the step is counted in `compensations` instead. Returns no row if no attempt is left. Also returns no row
-- if the new state is RUNNING, but the operation must not continue: it has expired, or it was cancelled before its
-- point of no return.
WITH o AS (
    UPDATE operations.operations o
    SET version = o.version + 1, is_irrevocable = o.is_irrevocable OR :is_final,
        progress = greatest(o.progress, CASE :state WHEN 'SUCCEEDED' THEN (
            SELECT CAST(count(*) FILTER (WHERE d.state = 'SUCCEEDED' OR d.name = :step) AS double precision) / count(*)
            FROM operations.steps d WHERE d.operation_id = o.operation_id) END)
    WHERE o.operation_id = CAST(:operation_id AS uuid) AND (:state <> 'RUNNING'
        OR clock_timestamp() < o.expires_at AND (o.is_irrevocable OR o.cancelled_by IS NULL))
    RETURNING o.operation_id)
UPDATE operations.steps s
SET state = :state, outcome = coalesce(CAST(:outcome AS jsonb), s.outcome),
    error = CASE :state WHEN 'SUCCEEDED' THEN NULL ELSE coalesce(:error, s.error) END,
    attempts = s.attempts + :attempts, compensations = s.compensations + :compensations,
    is_compensated = s.compensations > 0 AND :state = 'PENDING'
FROM o
WHERE s.operation_id = o.operation_id AND s.name = :step
  AND s.attempts + :attempts <= :max_attempts AND s.compensations + :compensations <= :max_attempts
RETURNING s.attempts, s.compensations;

-- record progress --
-- Record the progress, which never decreases. Also returns whether the operation has expired, and who cancelled it
-- before its point of no return. Neither an expiry nor a cancellation stops a compensation.
WITH reported AS (
    UPDATE operations.operations o SET progress = :progress, version = o.version + 1
    WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.progress < :progress)
SELECT o.state = 'RUNNING' AND clock_timestamp() >= o.expires_at,
    CASE WHEN o.state = 'RUNNING' AND NOT o.is_irrevocable THEN o.cancelled_by END
FROM operations.operations o WHERE o.operation_id = CAST(:operation_id AS uuid);

-- set state --
-- Begin to compensate the operation, or end it. The step that did not succeed gets the operation's new state. If the
-- operation failed before its worker read a cancellation, clear cancelled_by: the alert on failures leaves out
-- cancelled operations, but an operator must see this failure.
WITH s AS (
    UPDATE operations.steps s SET state = :state, error = :error
    WHERE s.operation_id = CAST(:operation_id AS uuid)
      AND (s.state IN ('RUNNING', 'COMPENSATING') OR s.is_compensated AND s.outcome IS NULL))
UPDATE operations.operations o
SET state = :state, failing_state = CASE :state WHEN 'COMPENSATING' THEN :failing_state END, error = :error,
    result = CAST(:outcome AS jsonb), progress = CASE :state WHEN 'SUCCEEDED' THEN 1 ELSE o.progress END,
    finished_at = CASE :state WHEN 'COMPENSATING' THEN NULL ELSE clock_timestamp() END,
    cancelled_by = CASE :state WHEN 'COMPENSATING' THEN :cancelled_by ELSE coalesce(o.cancelled_by, :cancelled_by) END,
    version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid);

-- limit statements --
-- Limit the time of each statement. On Linux, PostgreSQL also cancels the statement of a worker that has died, because
-- it checks every second whether the worker's connection has ended.
SELECT set_config('statement_timeout', :milliseconds, false),
    CASE WHEN version() ~ 'linux' THEN set_config('client_connection_check_interval', '1s', false) END;

-- delete closed letters --
-- Delete dead letters that were replayed, discarded or erased more than 90 days ago. They served to recognize
-- redelivered messages, but after 90 days, Pub/Sub does not redeliver a message any more.
DELETE FROM event_store.dead_letters
WHERE letter_id IN (
    SELECT letter_id
    FROM event_store.dead_letters
    WHERE coalesce(replayed_at, discarded_at) < clock_timestamp() - interval '90 days'
    ORDER BY coalesce(replayed_at, discarded_at)
    LIMIT CAST(:limit AS bigint));

-- empty old letters --
SELECT event_store.empty_old_letters(:days, :limit);

-- delete finished operations --
SELECT operations.delete_finished();

-- deleted learners to erase --
-- The learners whose deletion was recorded more than :days days ago and whose erasure was never started, in the order
-- of their deletions, and the keys of the erasures. The database keeps a hash of the key: that of the id itself would
-- identify the learner after the erasure. A failed erasure is not started again: an administrator must look into it.
-- One that an event of the learner has prevented (RETENTION_MONTHS) does not count.
SELECT d.user_id, encode(event_store.erasure_digest(d.user_id), 'hex'), NULL,
    format('the account was deleted more than %s days before', CAST(:days AS integer))
FROM deleted_learners d
CROSS JOIN LATERAL (
    SELECT e.created_at
    FROM event_store.events e
    WHERE e.stream_id = 'learner-' || d.user_id AND e.event_type = 'UserDeleted'
    ORDER BY e.stream_version DESC  -- fast, because a deletion is one of the learner's newest events
    LIMIT 1
) e
WHERE e.created_at < clock_timestamp() - make_interval(days => CAST(:days AS integer))
  AND NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(d.user_id))
  AND NOT EXISTS (
    SELECT FROM operations.operations o
    WHERE o.kind = 'ERASE_USER' AND o.subject = d.user_id AND o.cancelled_by IS DISTINCT FROM 'system:return')
ORDER BY e.created_at, d.user_id
LIMIT CAST(:limit AS bigint);

-- withdraw announcements --
-- Delete the announcements of learners who are no longer silent for :months. Without :months, delete all. One that
-- waited for Pub/Sub for a day goes, too: the next has a later `erase_on`.
DELETE FROM event_store.erasure_announcements a
WHERE a.published_at IS NULL AND a.announced_at < clock_timestamp() - interval '1 day'
   OR CAST(:months AS integer) IS NULL
   OR a.silent_since > clock_timestamp() - make_interval(months => CAST(:months AS integer))
   OR a.silent_since IS DISTINCT FROM (
        SELECT e.created_at FROM event_store.events e WHERE e.stream_id = 'learner-' || a.user_id
        ORDER BY e.stream_version DESC LIMIT 1);

-- announced learners to erase --
-- Those whose announcement Pub/Sub took 30 days ago, and why they are erased. An erasure that has ended is not started
-- again. The key of an erasure is the id of its announcement.
SELECT a.user_id, CAST(a.announcement_id AS text), CAST(a.announcement_id AS text),
    format('no event was recorded for %s months, since %s; announced on %s', CAST(:months AS integer),
        CAST(a.silent_since AT TIME ZONE 'UTC' AS date), CAST(a.published_at AT TIME ZONE 'UTC' AS date))
FROM event_store.erasure_announcements a
WHERE a.published_at < clock_timestamp() - interval '30 days'
  AND a.erase_on <= CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date)
  AND NOT EXISTS (
    SELECT FROM operations.operations o
    WHERE o.kind = 'ERASE_USER' AND o.subject = a.user_id
      AND (o.finished_at IS NULL OR o.key_digest = sha256(CAST(CAST(a.announcement_id AS text) AS bytea))))
ORDER BY a.published_at, a.user_id
LIMIT CAST(:limit AS bigint);

-- announce erasures --
-- Pub/Sub has a day to take the announcement: at `erase_on`, 30 days have passed since then.
INSERT INTO event_store.erasure_announcements (user_id, shard, silent_since, erase_on)
SELECT p.user_id, event_store.shard_of('learner-' || p.user_id), n.created_at,
    CAST(statement_timestamp() AT TIME ZONE 'UTC' AS date) + 32
FROM user_progress p
CROSS JOIN LATERAL (
    SELECT e.created_at FROM event_store.events e WHERE e.stream_id = 'learner-' || p.user_id
    ORDER BY e.stream_version DESC LIMIT 1
) n
CROSS JOIN LATERAL (SELECT statement_timestamp() - make_interval(months => CAST(:months AS integer))) l (at)
WHERE p.last_updated < l.at AND n.created_at < l.at   -- a late or undeclared event may be newer than the summary
  AND NOT event_store.is_deleted('learner-' || p.user_id)
  AND NOT EXISTS (SELECT FROM event_store.erasure_announcements a WHERE a.user_id = p.user_id)
  AND NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(p.user_id))
  AND NOT EXISTS (
    SELECT FROM operations.operations o
    WHERE o.kind = 'ERASE_USER' AND o.subject = p.user_id AND o.finished_at IS NULL)
ORDER BY p.last_updated, p.user_id
LIMIT CAST(:limit AS bigint)
ON CONFLICT DO NOTHING;
