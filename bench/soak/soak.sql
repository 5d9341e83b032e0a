-- The soak test's queries on the local stack's database.

-- end connections --
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();

-- backends --
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND usename IN ('local_ingest', 'local_project', 'local_query', 'local_batch');

-- counts --
-- The number of events, the number of messages that Pub/Sub has not delivered, and the size of PostgreSQL's files.
SELECT (SELECT coalesce(max(global_position), 0) FROM event_store.events),
       (SELECT count(*) FROM pubsub_standin.queue),
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

-- tables --
-- The tables of the read models, with the columns that depend only on the events. The list omits versions and the time
-- of the last batch run. It also omits snapshot_learners, a queue that a rebuild fills and a batch run empties.
SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> 'snapshot_learners'
  AND NOT (a.attname IN ('version', 'swap_version', 'catalogue_version'))
  AND NOT (c.relname = 'batch_checkpoints' AND a.attname = 'updated_at')
GROUP BY c.relname
ORDER BY c.relname;

-- texts --
-- For each table of the store, a statement that counts the rows that contain a given text in any column.
SELECT format('SELECT count(*) FROM %I.%I t WHERE strpos(t::text, :needle) > 0', schemaname, tablename)
FROM pg_tables
WHERE schemaname IN ('event_store', 'operations') OR schemaname LIKE 'progress%';
