-- The database sessions during the benchmark of cache misses.

-- sessions --
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();
