-- Operations, as progress/operations/claim.py carries them out and the query API starts and reads them.

-- accept --
SELECT operation_id, is_same, is_finished
FROM operations.accept(:kind, :started_by, :key, CAST(:arguments AS jsonb), CAST(:steps AS text[]));

-- lock --
SELECT pg_try_advisory_lock(operations.lock_key(CAST(:operation_id AS uuid)));

-- take up --
SELECT kind, arguments, version FROM operations.take_up(CAST(:operation_id AS uuid));

-- begin step --
SELECT version, attempts FROM operations.begin_step(CAST(:operation_id AS uuid), :name, :most_attempts);

-- advance --
SELECT operations.advance(CAST(:operation_id AS uuid), :progress);

-- set back --
SELECT operations.set_back(CAST(:operation_id AS uuid), :error);

-- finish --
SELECT operations.finish(CAST(:operation_id AS uuid), :state, :error, CAST(:result AS jsonb));

-- unattended --
SELECT operations.unattended();

-- bounds --
-- For a connection that a step works by: nothing goes on for longer than the step may, nor long after its
-- worker has died (where the server can tell).
DO $$
BEGIN
    PERFORM set_config('client_connection_check_interval', '1s', false);
EXCEPTION WHEN invalid_parameter_value THEN
    NULL;
END $$;

-- within --
SELECT set_config('statement_timeout', :milliseconds, false);

-- some --
SELECT o.* FROM operations.told o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));

-- page --
-- The newest of those accepted before a number.
SELECT o.* FROM operations.told o
WHERE o.number < coalesce(CAST(:before AS bigint), 9223372036854775807)
ORDER BY o.number DESC
LIMIT CAST(:first AS bigint);

-- versions --
-- For whoever waits for a change of one of these.
SELECT CAST(o.operation_id AS text) AS id, o.version
FROM operations.operations o
WHERE o.operation_id = ANY (CAST(:operation_ids AS uuid[]));
