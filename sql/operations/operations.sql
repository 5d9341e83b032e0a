-- Operations. progress/operations/claim.py runs them; the query API starts them; both read them.

-- accept --
SELECT operation_id, is_same, by_key, is_finished, retry_after_s
FROM operations.accept(:kind, :started_by, :key, CAST(:arguments AS jsonb), CAST(:steps AS text[]), :subject,
    CAST(:time_limit_s AS double precision), CAST(:daily_limit AS integer));

-- cancel --
SELECT operations.cancel(CAST(:operation_id AS uuid), :caller) AS version;

-- retry --
SELECT operations.retry(CAST(:operation_id AS uuid), CAST(:time_limit_s AS double precision)) AS version;

-- lock operation --
SELECT pg_try_advisory_lock(operations.lock_key(CAST(:operation_id AS uuid)));

-- claim --
UPDATE operations.operations o
SET state = CASE o.state WHEN 'PENDING' THEN 'RUNNING' ELSE o.state END, version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.finished_at IS NULL
RETURNING o.version, o.kind, o.arguments, o.is_irrevocable, o.failing_state, o.error;

-- restart --
-- Reset all steps: this kind starts over after its worker died. The attempts of completed steps do not count, because
-- a later step was interrupted.
UPDATE operations.steps s
SET attempts = s.attempts - CASE s.state WHEN 'SUCCEEDED' THEN 1 ELSE 0 END, state = 'PENDING', outcome = NULL
WHERE s.operation_id = CAST(:operation_id AS uuid);

-- steps --
SELECT s.name, s.state, s.outcome, s.attempts > 0 AND NOT s.is_compensated
FROM operations.steps s WHERE s.operation_id = CAST(:operation_id AS uuid) ORDER BY s.place;

-- begin step --
-- uncounted: earlier attempts that an outage ended, which do not count. Returns no row if the operation is cancelled or
-- expired, or no attempt is left. An operation past its point of no return cannot be cancelled.
WITH o AS (
    UPDATE operations.operations o
    SET version = o.version + 1, is_irrevocable = o.is_irrevocable OR :is_final
    WHERE o.operation_id = CAST(:operation_id AS uuid) AND clock_timestamp() < o.expires_at
      AND (o.is_irrevocable OR o.cancelled_by IS NULL)
    RETURNING o.operation_id, o.version)
UPDATE operations.steps s SET state = 'RUNNING', attempts = s.attempts + 1 - :uncounted
FROM o WHERE s.operation_id = o.operation_id AND s.name = :step AND s.attempts - :uncounted < :max_attempts
RETURNING o.version, s.attempts;

-- record progress --
-- The recorded progress never decreases, even when a step is repeated from its beginning.
UPDATE operations.operations o SET progress = greatest(o.progress, :progress), version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version;

-- interruption --
SELECT CAST(NULL AS bigint), o.cancelled_by IS NOT NULL AND NOT o.is_irrevocable, clock_timestamp() >= o.expires_at
FROM operations.operations o
WHERE o.operation_id = CAST(:operation_id AS uuid);

-- set step --
WITH s AS (
    UPDATE operations.steps s
    SET state = :state, error = :error, outcome = coalesce(CAST(:outcome AS jsonb), s.outcome),
        attempts = s.attempts - CASE :state WHEN 'COMPENSATING' THEN 0 ELSE :uncounted END,
        compensations = s.compensations - CASE :state WHEN 'COMPENSATING' THEN :uncounted ELSE 0 END
    WHERE s.operation_id = CAST(:operation_id AS uuid) AND s.name = :step)
UPDATE operations.operations o SET version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version;

-- compensate --
UPDATE operations.operations o
SET state = 'COMPENSATING', failing_state = :state, error = :error,
    cancelled_by = coalesce(o.cancelled_by, :cancelled_by), version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version;

-- begin compensation --
WITH s AS (
    UPDATE operations.steps s SET state = 'COMPENSATING', compensations = s.compensations + 1
    WHERE s.operation_id = CAST(:operation_id AS uuid) AND s.name = :step RETURNING s.compensations)
UPDATE operations.operations o SET version = o.version + 1
FROM s WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version, s.compensations;

-- end compensation --
WITH s AS (
    UPDATE operations.steps s
    SET state = CASE WHEN s.outcome IS NULL THEN :state ELSE 'PENDING' END, is_compensated = true
    WHERE s.operation_id = CAST(:operation_id AS uuid) AND s.name = :step)
UPDATE operations.operations o SET version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version;

-- finish --
WITH s AS (
    UPDATE operations.steps s SET state = :state, error = :error
    WHERE s.operation_id = CAST(:operation_id AS uuid) AND s.state IN ('RUNNING', 'COMPENSATING'))
UPDATE operations.operations o SET state = :state, error = :error, result = CAST(:result AS jsonb),
    progress = CASE :state WHEN 'SUCCEEDED' THEN 1 ELSE o.progress END, finished_at = clock_timestamp(),
    cancelled_by = coalesce(o.cancelled_by, :cancelled_by), version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) RETURNING o.version;

-- list unclaimed --
SELECT operations.unattended();

-- archive is due --
SELECT operations.archive_is_due(CAST(:range_length AS bigint), make_interval(days => CAST(:max_age_days AS integer))),
    CAST(CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date) AS text);

-- delete old --
DELETE FROM operations.operations o WHERE o.finished_at < clock_timestamp() - interval '400 days';

-- detect dead clients --
-- Let the server cancel the statements of a worker that has died, if it can detect that on its operating system.
DO $$
BEGIN
    PERFORM set_config('client_connection_check_interval', '1s', false);
EXCEPTION WHEN invalid_parameter_value THEN
    NULL;
END $$;

-- set statement timeout --
SELECT set_config('statement_timeout', :milliseconds, false);

-- operations by id --
SELECT o.* FROM operations.records o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));

-- newest operations --
-- The newest operations whose number is below :before; all numbers if :before is null.
SELECT o.* FROM operations.records o
WHERE o.number < coalesce(CAST(:before AS bigint), 9223372036854775807)
ORDER BY o.number DESC
LIMIT CAST(:first AS bigint);

-- operation versions --
-- Only the versions: callers that poll compare them to detect changes.
SELECT CAST(o.operation_id AS text) AS id, o.version
FROM operations.operations o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));
