-- size --
-- The size of the database, and the position in the write-ahead log, in bytes.
SELECT pg_database_size(current_database()), CAST(pg_current_wal_lsn() - CAST('0/0' AS pg_lsn) AS bigint);
