-- Operations. progress/operations/claim.py runs them; the query API starts them; both read them.

-- accept --
SELECT operation_id, is_same, is_finished
FROM operations.accept(:kind, :started_by, :key, CAST(:arguments AS jsonb), CAST(:steps AS text[]));

-- lock operation --
SELECT pg_try_advisory_lock(operations.lock_key(CAST(:operation_id AS uuid)));

-- claim --
SELECT kind, arguments, version FROM operations.take_up(CAST(:operation_id AS uuid));

-- begin step --
SELECT version, attempts FROM operations.begin_step(CAST(:operation_id AS uuid), :name, :most_attempts);

-- record progress --
SELECT operations.advance(CAST(:operation_id AS uuid), :progress);

-- record failed attempt --
SELECT operations.set_back(CAST(:operation_id AS uuid), :error);

-- finish --
SELECT operations.finish(CAST(:operation_id AS uuid), :state, :error, CAST(:result AS jsonb));

-- list unclaimed --
SELECT operations.unattended();

-- detect dead clients --
-- Cancel the statement of a worker that has died, where the server supports this check.
DO $$
BEGIN
    PERFORM set_config('client_connection_check_interval', '1s', false);
EXCEPTION WHEN invalid_parameter_value THEN
    NULL;
END $$;

-- set statement timeout --
SELECT set_config('statement_timeout', :milliseconds, false);

-- operations by id --
SELECT o.* FROM operations.told o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));

-- newest operations --
-- The newest operations with a number below :before; null: no bound.
SELECT o.* FROM operations.told o
WHERE o.number < coalesce(CAST(:before AS bigint), 9223372036854775807)
ORDER BY o.number DESC
LIMIT CAST(:first AS bigint);

-- operation versions --
-- Versions only, for callers that poll for changes.
SELECT CAST(o.operation_id AS text) AS id, o.version
FROM operations.operations o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));
