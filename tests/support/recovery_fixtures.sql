-- Statements for the recovery tests. Some damage the store, others read the rows that the tests compare.

-- let the log be changed --
ALTER TABLE event_store.events DISABLE TRIGGER append_only;

-- lose an event --
DELETE FROM event_store.events WHERE global_position = 5;

-- lose the end --
DELETE FROM event_store.events WHERE global_position > :head;

-- record earlier --
UPDATE event_store.events SET created_at = created_at - make_interval(hours => CAST(:hours AS integer))
WHERE global_position > :after;

-- renumber a stream --
UPDATE event_store.events SET stream_version = stream_version + 100 WHERE global_position = 5;

-- misplace an event --
UPDATE event_store.events SET shard = CAST((shard + 1) % 16 AS smallint) WHERE global_position = 1;

-- record it at another time --
UPDATE event_store.events SET created_at = created_at + INTERVAL '1 second'
WHERE global_position = (SELECT max(position) FROM checkpoints);

-- give a number by hand --
INSERT INTO event_store.dead_letters (letter_id, kind, subscription, message_id, index_in_message, reason, payload)
OVERRIDING SYSTEM VALUE VALUES (77, 'malformed', '', 'm', 0, 'r', 'p');
INSERT INTO event_store.pending (event_id, session_id, event_type, event_data, metadata, occurred_at, arrival)
OVERRIDING SYSTEM VALUE VALUES (gen_random_uuid(), 's', 'SessionAbandoned', '{}', '{}', now(), 77);

-- change a row --
UPDATE hourly_stats SET response_ms = response_ms + 1
WHERE (user_id, hour) = (SELECT user_id, hour FROM hourly_stats ORDER BY user_id, hour LIMIT 1);

-- move sums to another shard --
UPDATE sums SET shard = 99 WHERE ctid = (SELECT ctid FROM sums LIMIT 1);

-- lose a checkpoint --
DELETE FROM checkpoints WHERE shard = 4;
UPDATE batch_checkpoints SET catalogue_position = 1000000 WHERE shard = 3;

-- hold a shard --
SELECT pg_advisory_xact_lock(hashtext(current_schema()), CAST(:shard AS int));

-- lock a table --
LOCK TABLE item_days IN SHARE MODE;

-- behind --
SELECT shard FROM shards_behind;

-- every row --
-- Return a query for each table of a schema. The query returns the table's rows as text, without columns that a rebuild
-- changes. Omit snapshot_learners, a queue that a rebuild fills and the next batch run empties.
SELECT c.relname, format('SELECT CAST(ROW(%s) AS text) FROM %I.%I',
    string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), n.nspname, c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = :schema AND c.relkind = 'r' AND c.relname NOT IN ('snapshot_learners')
  AND NOT (a.attname IN ('version', 'swap_version', 'catalogue_version'))
  AND NOT (c.relname = 'batch_checkpoints' AND a.attname = 'updated_at')
GROUP BY n.nspname, c.relname
ORDER BY c.relname;

-- every row of the log --
-- Return a query for each table of the log and of the operations, except those that rebuilds change.
-- The query returns the table's rows as text.
SELECT c.relname, format('SELECT CAST(t.* AS text) FROM %I.%I t', n.nspname, c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('event_store', 'operations') AND c.relkind = 'r' AND c.relname NOT IN ('snapshots', 'read_models')
  AND CAST(:schema AS text) <> ''
ORDER BY c.relname;

-- accept an operation --
SELECT operation_id FROM operations.accept('RUN_BATCH', 'ada', 'key', '{}', '{batch}', NULL, 3600, NULL);

-- forbid a learner --
SELECT FROM event_store.forbid_learner('gone', gen_random_uuid());

-- rights --
-- The owner and the privileges of each database object.
SELECT 'table ' || CAST(c.oid::regclass AS text), CAST(c.relowner::regrole AS text), CAST(c.relacl AS text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname ~ '^(event_store|operations|progress)' OR c.relname IN ('progress_migrations', 'progress_functions')
UNION ALL
SELECT 'function ' || CAST(p.oid::regprocedure AS text), CAST(p.proowner::regrole AS text),
    concat(CAST(p.proacl AS text), p.prosecdef)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname ~ '^(event_store|operations|progress)'
UNION ALL
SELECT 'schema ' || n.nspname, CAST(n.nspowner::regrole AS text), CAST(n.nspacl AS text)
FROM pg_namespace n WHERE n.nspname ~ '^(event_store|operations|progress|public$)'
UNION ALL
SELECT 'default ' || coalesce(n.nspname, '') || CAST(d.defaclobjtype AS text),
    CAST(d.defaclrole::regrole AS text), CAST(d.defaclacl AS text)
FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace
UNION ALL
SELECT 'column ' || CAST(a.attrelid::regclass AS text), a.attname, CAST(a.attacl AS text)
FROM pg_attribute a WHERE a.attacl IS NOT NULL AND a.attrelid >= 16384
UNION ALL
SELECT 'type ' || t.typname, CAST(t.typowner::regrole AS text), CAST(t.typacl AS text)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname ~ '^(event_store|operations|progress)'
UNION ALL
SELECT 'member', CAST(m.roleid::regrole AS text), CAST(to_jsonb(m) - '{oid,roleid,member,grantor}'::text[] AS text)
    || CAST(m.member::regrole AS text) || CAST(m.grantor::regrole AS text)
FROM pg_auth_members m
UNION ALL
SELECT 'database', CAST(d.datdba::regrole AS text), CAST(d.datacl AS text)
FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT 'trigger ' || t.tgname, CAST(t.tgenabled AS text), pg_get_triggerdef(t.oid)
FROM pg_trigger t WHERE NOT t.tgisinternal
ORDER BY 1, 2, 3;
