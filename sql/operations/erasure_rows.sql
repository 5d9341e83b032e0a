-- The erasure of a learner. progress/operations/erasure_rows.py runs the blocks. The query API and `progress erase` run
-- "find erasure".

-- find erasure --
SELECT is_known, operation_id FROM operations.find_erasure(:learner);

-- forbid learner --
SELECT encode(digest, 'hex'), erased_at FROM event_store.forbid_learner(:learner, CAST(:operation_id AS uuid));

-- is withdrawn --
SELECT NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(:learner))
   AND NOT EXISTS (
    SELECT FROM operations.operations o
    WHERE o.operation_id = CAST(:operation_id AS uuid) AND cardinality(o.requesters) > 1)
   AND NOT EXISTS (
    SELECT FROM event_store.erasure_announcements a
    WHERE a.announcement_id = CAST(:announcement AS uuid) AND a.silent_since = (
        SELECT e.created_at FROM event_store.events e WHERE e.stream_id = 'learner-' || CAST(:learner AS text)
        ORDER BY e.stream_version DESC LIMIT 1));

-- read key --
SELECT encode(k.inner_key, 'hex'), encode(k.outer_key, 'hex') FROM event_store.erasure_key k;

-- count of learner --
SELECT c.events, c.sessions, c.pending, c.snapshots, c.poisoned,
    (SELECT count(*) FROM event_store.milestone_marks m WHERE m.user_id = :learner) AS milestone_marks,
    (SELECT count(*) FROM event_store.erasure_announcements a WHERE a.user_id = :learner) AS erasure_announcements,
    (SELECT count(*) FROM event_store.accesses a
     WHERE a.user_id = :learner OR a.read_by = :learner AND a.role <> 'system') AS accesses,
    (SELECT count(*) FROM operations.operations_of(:learner) o (id)
     WHERE o.id <> CAST(:operation_id AS uuid)) AS operations
FROM event_store.count_of_learner(:learner) c;

-- list schemas --
-- All schemas of read models, including those that a rebuild still builds and unused ones that are not dropped yet.
SELECT n.nspname FROM pg_namespace n WHERE n.nspname ~ '^progress_[0-9a-f]{12}(_|$)' ORDER BY n.nspname;

-- lock shard --
SELECT pg_advisory_xact_lock(hashtext(current_schema()), event_store.shard_of('learner-' || CAST(:learner AS text)));

-- try to lock shard --
SELECT pg_try_advisory_xact_lock(
    hashtext(current_schema()), event_store.shard_of('learner-' || CAST(:learner AS text)));

-- has interface --
-- Read models before version 0.4 lack the function, unless `migrate` has completed them (see live.py).
SELECT to_regprocedure(current_schema() || '.remove_deletion(text)') IS NOT NULL;

-- delete learner of earlier --
WITH forgotten AS (DELETE FROM deleted_learners WHERE user_id = :learner)
SELECT delete_learners(ARRAY[CAST(:learner AS text)]);

-- lock batch --
-- Take this lock before the lock of snapshots. A run of the batch job takes both locks in the same order, so that the
-- erasure and the run cannot deadlock.
SELECT pg_advisory_xact_lock(
    hashtext('batch ' || current_schema()), event_store.shard_of('learner-' || CAST(:learner AS text)));

-- lock snapshots --
SELECT pg_advisory_xact_lock(
    hashtext('reading ' || current_schema()), event_store.shard_of('learner-' || CAST(:learner AS text)));

-- list tables of learners --
-- The tables of the current schema of read models that have the column `user_id`.
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id' AND NOT a.attisdropped
WHERE n.nspname = current_schema() AND c.relkind = 'r'
ORDER BY c.relname;

-- count rows --
SELECT count(*) FROM {table} WHERE user_id = :learner;

-- analyze rows --
SELECT event_store.renew_statistics('{table}');

-- redact events --
SELECT event_store.redact_events(:learner, :at_most, :with_deletions);

-- redact undeclared --
SELECT redacted, reached_stream, reached_version
FROM event_store.redact_undeclared(:learner, :after_stream, :after_version, :at_most);

-- count undeclared --
SELECT cardinality(positions), reached_stream, reached_version
FROM event_store.undeclared_of(:learner, :after_stream, :after_version, :at_most);

-- delete snapshots --
WITH gone AS (
    DELETE FROM event_store.snapshots s
    WHERE s.stream_id = 'learner-' || CAST(:learner AS text) AND (s.stream_version, s.fingerprint) IN (
        SELECT t.stream_version, t.fingerprint FROM event_store.snapshots t
        WHERE t.stream_id = 'learner-' || CAST(:learner AS text) LIMIT :at_most)
    RETURNING 1)
SELECT count(*) FROM gone;

-- delete milestone marks --
DELETE FROM event_store.milestone_marks m WHERE m.user_id = :learner;

-- delete announcement --
DELETE FROM event_store.erasure_announcements a WHERE a.user_id = :learner;

-- redact accesses --
SELECT event_store.redact_accesses(:learner, :at_most);

-- unpublished --
-- The learner's shard, and the number of UserDeleted there that the publisher is not past; no row without one.
SELECT e.shard, count(*)
FROM event_store.events e
LEFT JOIN event_store.publisher_checkpoints c ON c.shard = e.shard
WHERE e.stream_id = 'learner-' || CAST(:learner AS text) AND e.event_type = 'UserDeleted'
  AND e.global_position > coalesce(c.position, 0)
GROUP BY e.shard;

-- delete pending --
SELECT event_store.delete_pending(:learner);

-- count letters --
SELECT coalesce(cardinality(letter_ids), 0) AS dead_letters, bundled AS bundled_letters,
    coalesce(cardinality(undecodable_ids), 0) AS undecodable_letters
FROM event_store.letters_of(event_store.erasure_digest(:learner), 0, 0, :with_undecodable);

-- redact letters --
-- Without :learner, redact the dead letters of all erased learners.
SELECT redacted, reached
FROM event_store.redact_letters_of(
    event_store.erasure_digest(CAST(:learner AS text)), :after, :at_most, :with_undecodable);

-- hide sessions --
SELECT event_store.hide_sessions(:learner, :after, :at_most);

-- redact operations --
-- `own` is the operation that erases the learner, or null while its worker still needs the learner's id.
SELECT operations.redact_operations(:learner, CAST(:own AS uuid));

-- list exports --
-- The exports that were requested before a given time and whose files may hold rows about the learner. They export
-- either the learner's record, or that of somebody whose record the learner read, or statistics that may include the
-- learner. An export that finished more than 8 days before this time is left out, because its file is deleted after a
-- week.
SELECT o.operation_id
FROM operations.operations o
WHERE (o.kind = 'EXPORT_USER' AND (:learner IN (o.subject, o.arguments ->> 'user_id') OR EXISTS (
           SELECT FROM event_store.accesses a
           WHERE a.user_id = o.arguments ->> 'user_id' AND a.role <> 'system'
             AND a.read_by IN (:learner, encode(event_store.erasure_digest(:learner), 'hex'))))
    OR o.kind = 'EXPORT_STATISTICS'
       AND (jsonb_typeof(o.arguments -> 'learners') IS DISTINCT FROM 'array' OR o.arguments -> 'learners' ? :learner))
  AND o.started_at <= CAST(:before AS timestamptz)
  AND coalesce(o.finished_at, 'infinity') > CAST(:before AS timestamptz) - INTERVAL '8 days'
ORDER BY o.number;

-- cancel export --
UPDATE operations.operations o SET cancelled_by = 'system:erasure', version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.finished_at IS NULL AND o.cancelled_by IS NULL
  AND o.failing_state IS NULL;

-- end export --
-- Set cancelled_by, so that the failed export raises no alert. An alert is not needed, because no operator has to act.
UPDATE operations.operations o
SET state = 'FAILED', error = 'a learner was erased meanwhile: request another export', finished_at = clock_timestamp(),
    cancelled_by = coalesce(o.cancelled_by, 'system:erasure'), version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.finished_at IS NULL;

-- forget file --
-- A finished export keeps its state, and has no file to download any more.
UPDATE operations.operations o SET result = NULL, version = o.version + 1
WHERE o.operation_id = CAST(:operation_id AS uuid) AND o.result IS NOT NULL;

-- unlock operation --
SELECT pg_advisory_unlock(operations.lock_key(CAST(:operation_id AS uuid)));

-- list columns of the log --
-- List the columns of each table in event_store and operations, in groups. One ANALYZE statement analyzes one group.
-- Each JSON column is a separate group, because its ANALYZE takes longest.
SELECT c.oid, array_agg(CAST(a.attname AS text))
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname IN ('event_store', 'operations') AND c.relkind = 'r'
GROUP BY c.oid, CASE WHEN a.atttypid = CAST('jsonb' AS regtype) THEN a.attnum END
ORDER BY c.oid;

-- analyze --
SELECT event_store.analyze_columns(CAST(:table_id AS oid), CAST(:columns AS text[]));

-- count mentions --
SELECT mentions, reached FROM event_store.mentions_of(:learner, :after, :at_most);

-- read time --
SELECT clock_timestamp();

-- seconds since --
SELECT CAST(extract(epoch FROM clock_timestamp() - CAST(:moment AS timestamptz)) AS double precision);

-- keep receipt --
-- Store the receipt in the transaction that removes the learner's id from this operation. After this transaction, no
-- worker could repeat the step, because no worker knows the id.
UPDATE operations.steps s SET outcome = CAST(:receipt AS jsonb)
WHERE s.operation_id = CAST(:operation_id AS uuid) AND s.name = 'close';

-- find receipt --
-- The receipt of the learner whose id was removed from this operation. The operation's own receipt comes first.
SELECT s.outcome
FROM operations.operations o
JOIN operations.operations e ON e.kind = o.kind AND e.subject = o.subject
JOIN operations.steps s ON s.operation_id = e.operation_id AND s.name = 'close'
WHERE o.operation_id = CAST(:operation_id AS uuid) AND s.outcome ->> 'digest' = o.subject
ORDER BY e.operation_id = o.operation_id DESC
LIMIT 1;
