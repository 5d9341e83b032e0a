-- Operations: start, cancel, retry and read them. runner.sql has the statements of the worker.

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
