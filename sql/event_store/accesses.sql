-- The trace of who read a learner's record. progress/query/read_models/accesses.py and progress/operations/accesses.py
-- run the blocks.

-- record --
-- Record that a caller reads the records of `learners`, except those without progress: the unknown and the deleted. Of
-- `trails`, the audit trails are read, so that deleted learners count, too. One statement, which commits by itself.
SELECT hour, traced
FROM event_store.record_accesses(:read_by, :role, ARRAY(
    SELECT p.user_id FROM user_progress p WHERE p.user_id = ANY (CAST(:learners AS text[]))
    UNION
    SELECT {event_store/accesses with_events}));

-- record trails --
-- The same for audit trails alone. The read models need not exist.
SELECT hour, traced FROM event_store.record_accesses(:read_by, :role, ARRAY(SELECT {event_store/accesses with_events}));

-- record export --
-- The same for the learners in a file of EXPORT_STATISTICS: its caller reads them, in the role that allowed the export.
-- Older code has stored no role.
SELECT r.hour, r.traced
FROM operations.operations o
CROSS JOIN LATERAL event_store.record_accesses(o.started_by, coalesce(o.arguments ->> 'role', 'support'), ARRAY(
    SELECT p.user_id FROM user_progress p WHERE p.user_id = ANY (CAST(:learners AS text[])))) AS r
WHERE o.operation_id = CAST(:operation_id AS uuid);

-- with_events --
t.user_id FROM unnest(CAST(:trails AS text[])) AS t (user_id)
    WHERE EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || t.user_id)

-- list --
-- The rows about a learner after the given one, newest hour first.
SELECT a.user_id, a.hour, a.read_by, a.role
FROM event_store.accesses a
WHERE a.user_id = :user_id AND (CAST(:after_hour AS timestamptz) IS NULL OR a.hour < :after_hour
    OR a.hour = :after_hour AND (a.read_by, a.role) > (CAST(:after_reader AS text), CAST(:after_role AS text)))
ORDER BY a.hour DESC, a.read_by, a.role
LIMIT CAST(:first AS bigint);

-- of reader --
-- The rows of a reader after the given one, newest hour first. An erased learner stands there as the digest.
SELECT a.user_id, a.hour, a.read_by, a.role
FROM event_store.accesses a
WHERE a.read_by = :read_by AND (CAST(:after_hour AS timestamptz) IS NULL OR a.hour < :after_hour
    OR a.hour = :after_hour AND (a.user_id, a.role) > (CAST(:after_user AS text), CAST(:after_role AS text)))
ORDER BY a.hour DESC, a.user_id, a.role
LIMIT CAST(:first AS bigint);

-- export accesses --
COPY (
    SELECT a.hour, regexp_replace(a.read_by, current_setting('export.marked'), '''\&') AS read_by, a.role
    FROM event_store.accesses a
    WHERE a.user_id = current_setting('export.learner')
    ORDER BY a.hour, a.read_by, a.role
) TO STDOUT (FORMAT csv, HEADER);

-- delete old --
-- Delete rows that are older than 400 days.
DELETE FROM event_store.accesses
WHERE (user_id, hour, read_by, role) IN (
    SELECT user_id, hour, read_by, role
    FROM event_store.accesses
    WHERE hour < clock_timestamp() - INTERVAL '400 days'
    ORDER BY hour
    LIMIT CAST(:limit AS bigint));

-- delete old conflicts --
DELETE FROM event_store.learner_conflicts WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date - 400;
