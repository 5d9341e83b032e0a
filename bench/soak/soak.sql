-- The soak test's queries on the local stack's database.

-- end connections --
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();

-- backends --
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND usename ~ '^progress_(ingest|project|query|batch)_';

-- counts --
-- The number of events, the number of messages that Pub/Sub has not delivered, and the size of PostgreSQL's files.
SELECT (SELECT coalesce(max(global_position), 0) FROM event_store.events),
       (SELECT count(*) FROM transport.queue),
       (SELECT sum(size) FROM pg_ls_waldir()) + pg_database_size(current_database());

-- event ids --
SELECT event_id FROM event_store.events;

-- pending --
SELECT count(*) FROM event_store.pending;

-- dead letters --
-- The payload of each dead letter, as text.
SELECT payload FROM event_store.dead_letters;

-- operations --
SELECT kind, state, count(*), max(error) FROM operations.operations GROUP BY kind, state ORDER BY kind, state;

-- unfinished --
SELECT count(*) FROM operations.operations WHERE finished_at IS NULL;

-- behind --
SELECT count(*) FROM shards_behind;

-- texts --
-- For each table of the store, a statement that counts the rows that contain a given text in any column.
SELECT format('SELECT count(*) FROM %I.%I t WHERE strpos(t::text, :needle) > 0', schemaname, tablename)
FROM pg_tables
WHERE schemaname IN ('event_store', 'operations') OR schemaname LIKE 'progress%';
