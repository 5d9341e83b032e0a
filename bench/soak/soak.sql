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
-- The payload of each dead letter, and its hash, which an erasure keeps.
SELECT payload, coalesce(emptied_sha256, encode(sha256(convert_to(payload, 'UTF8')), 'hex'))
FROM event_store.dead_letters;

-- operations --
SELECT kind, state, count(*), max(error) FROM operations.operations GROUP BY kind, state ORDER BY kind, state;

-- unfinished --
SELECT count(*) FROM operations.operations WHERE finished_at IS NULL;

-- behind --
SELECT count(*) FROM shards_behind;

-- comparisons --
-- For each table of the read models, a statement that counts the rows of one schema that the other one lacks. Columns
-- with versions, the clock's time and an order of arrival differ.
SELECT format('SELECT %L, count(*) FROM ((SELECT %2$s FROM %3$I.%1$I EXCEPT ALL SELECT %2$s FROM %4$I.%1$I) UNION ALL '
        '(SELECT %2$s FROM %4$I.%1$I EXCEPT ALL SELECT %2$s FROM %3$I.%1$I)) d',
    c.relname, string_agg(quote_ident(a.attname), ', '), n.nspname, CAST(:other AS text))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = current_schema() AND c.relkind = 'r' AND c.relname <> 'snapshot_learners'
  AND a.attname !~ 'version$|^(last_updated|updated_at|fold_until)$'
GROUP BY n.nspname, c.relname;

-- untold --
-- The recent milestones of the own schema without a mark, the marks that are not published, and those made twice.
SELECT
    (SELECT count(*) FROM milestones m
     WHERE m.reached_on > current_date - 1 AND NOT EXISTS (
        SELECT FROM event_store.milestone_marks k
        WHERE k.user_id = m.user_id AND k.kind = m.kind AND k.value IS NOT DISTINCT FROM m.value
          AND k.level IS NOT DISTINCT FROM m.level AND k.reached_on = m.reached_on)),
    (SELECT count(*) FROM event_store.milestone_marks k
     LEFT JOIN event_store.publisher_checkpoints c ON c.shard = k.shard
     WHERE k.is_told AND k.number > coalesce(c.mark, 0)),
    (SELECT count(*) FROM (
        SELECT FROM event_store.milestone_marks
        GROUP BY user_id, kind, value, level, reached_on HAVING count(*) > 1) d);

-- texts --
-- For each table of the store, a statement that counts the rows that contain a given text in any column.
SELECT format('SELECT count(*) FROM %I.%I t WHERE strpos(t::text, :needle) > 0', schemaname, tablename)
FROM pg_tables
WHERE schemaname IN ('event_store', 'operations') OR schemaname LIKE 'progress%';
