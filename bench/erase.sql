-- The transactions of an erasure's worker.

-- longest transaction --
-- The seconds since the oldest open transaction of the worker began.
SELECT CAST(coalesce(extract(epoch FROM max(clock_timestamp() - a.xact_start)), 0) AS double precision)
FROM pg_stat_activity a
WHERE a.application_name LIKE '%operation%' AND a.datname = current_database() AND a.state <> 'idle';
