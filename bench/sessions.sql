-- The open sessions of a database, without the one that asks.

-- sessions --
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid();
