-- Erasures after a restore: the ledger in the archive may name learners who are not erased in the restored log.

-- missing --
-- The ledger's digests of learners whom the database does not record as erased.
SELECT u.digest
FROM unnest(CAST(:digests AS text[])) AS u (digest)
WHERE NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = decode(u.digest, 'hex'))
ORDER BY u.digest;

-- learners --
-- The learners whom the log names. One index look-up finds the next learner with events.
WITH RECURSIVE streams (stream_id) AS (
    SELECT min(e.stream_id) FROM event_store.events e WHERE e.stream_id >= 'learner-' AND e.stream_id < 'learner.'
    UNION ALL
    SELECT (
        SELECT min(e.stream_id) FROM event_store.events e
        WHERE e.stream_id > s.stream_id AND e.stream_id < 'learner.')
    FROM streams s
    WHERE s.stream_id IS NOT NULL
)
SELECT substr(s.stream_id, 9) AS user_id FROM streams s WHERE s.stream_id IS NOT NULL
UNION
SELECT s.user_id FROM event_store.sessions s
UNION
SELECT coalesce(p.event_data ->> 'user_id', p.metadata ->> 'user_id') FROM event_store.pending p
UNION
SELECT o.subject FROM operations.operations o WHERE o.kind = 'ERASE_USER'

-- left --
-- The erased learners of whom the log still has rows, with the digests of their ids. A learner is left out if an
-- erasure of the learner is unfinished, or has failed and still has the id, so that it can be resumed.
SELECT encode(d.digest, 'hex'), l.user_id
FROM ({recovery/ledger_erasures learners}) l
CROSS JOIN LATERAL (SELECT event_store.erasure_digest(l.user_id) AS digest OFFSET 0) d
WHERE d.digest IN (SELECT x.digest FROM event_store.erased x)
  AND NOT EXISTS (
      SELECT FROM operations.operations o
      WHERE o.kind = 'ERASE_USER' AND o.state <> 'SUCCEEDED' AND o.arguments ->> 'user_id' = l.user_id
        AND (o.finished_at IS NULL OR o.cancelled_by IS NULL))
ORDER BY l.user_id;

-- forbid --
-- Append a UserDeleted for each erased learner who has events, so that no fold counts these.
WITH gone AS MATERIALIZED (
    SELECT l.user_id, x.operation_id
    FROM ({recovery/ledger_erasures learners}) l
    CROSS JOIN LATERAL (SELECT event_store.erasure_digest(l.user_id) AS digest OFFSET 0) d
    JOIN event_store.erased x ON x.digest = d.digest
)
SELECT f.* FROM gone g, LATERAL event_store.forbid_learner(g.user_id, g.operation_id) f;

-- unfinished --
-- The erasures in the restored database that are to be carried out, one for each learner: whether one `has_ended`, and
-- whether its time `is_over`. They are unfinished, have timed out, or failed although the learner counts as erased. One
-- that has ended is left out if somebody cancelled it, or if the learner's id was removed from it, because another
-- erasure of the learner has succeeded. One that was announced and has not begun is left out, because its announcement
-- is withdrawn, unless somebody has requested it, too.
SELECT DISTINCT ON (o.subject) o.operation_id, o.finished_at IS NOT NULL AS has_ended,
    o.state = 'TIMED_OUT' OR o.finished_at IS NULL AND o.expires_at <= clock_timestamp() AS is_over
FROM operations.operations o
CROSS JOIN LATERAL (SELECT event_store.is_erased(o.arguments ->> 'user_id') AS is_erased) e
WHERE o.kind = 'ERASE_USER' AND o.state <> 'SUCCEEDED'
  AND (o.finished_at IS NULL OR o.arguments ? 'user_id' AND o.cancelled_by IS NULL)
  AND (e.is_erased OR o.state <> 'FAILED'
      AND (o.arguments ->> 'announcement' IS NULL OR cardinality(o.requesters) > 1))
ORDER BY o.subject, has_ended, o.is_irrevocable DESC, o.number

-- overdue --
-- The number of erasures to be carried out whose time is over.
SELECT count(*) FROM ({recovery/ledger_erasures unfinished}) u WHERE u.is_over;

-- accept anew --
-- Give the erasures to be carried out their whole time from now on. One that had ended is pending again, and its steps
-- have all their attempts.
WITH accepted AS (
    UPDATE operations.operations o
    SET state = CASE WHEN u.has_ended THEN 'PENDING' ELSE o.state END, finished_at = NULL, error = NULL,
        version = o.version + 1, expires_at = clock_timestamp() + make_interval(secs => :time_limit_s)
    FROM ({recovery/ledger_erasures unfinished}) u
    WHERE o.operation_id = u.operation_id AND o.state <> 'SUCCEEDED'
    RETURNING o.operation_id, u.has_ended
), reset AS (
    UPDATE operations.steps s SET state = 'PENDING', attempts = 0
    FROM accepted a
    WHERE s.operation_id = a.operation_id AND a.has_ended AND s.state <> 'SUCCEEDED'
)
SELECT a.operation_id FROM accepted a;

-- abandoned --
-- The number of unfinished erasures that the command line started and nobody runs, as after a killed `progress load`.
SELECT count(*)
FROM operations.list_unclaimed() AS u (operation_id) JOIN operations.operations o USING (operation_id)
WHERE o.kind = 'ERASE_USER' AND o.started_by = :caller;

-- record --
-- Record the digest of an erased learner. From now on, the append drops events of this learner.
INSERT INTO event_store.erased (digest, operation_id, erased_at)
VALUES (decode(:digest, 'hex'), CAST(:operation_id AS uuid), CAST(:erased_at AS timestamptz))
ON CONFLICT DO NOTHING;

-- withdraw announcements --
DELETE FROM event_store.erasure_announcements;

-- has erasures --
SELECT EXISTS (SELECT FROM event_store.erased);

-- replace key --
-- No digest of the former key says anything any more, so the owners of dead letters are read again.
WITH unknown AS (UPDATE event_store.dead_letters l SET owners = NULL WHERE l.owners <> '{}')
INSERT INTO event_store.erasure_key (inner_key, outer_key) VALUES (decode(:inner, 'hex'), decode(:outer, 'hex'));

-- forget --
-- Delete the rows of the erased learners from the read models. A learner's row in deleted_learners stays while the log
-- has events of this learner.
WITH known AS (
    SELECT user_id FROM user_progress
    UNION
    SELECT user_id FROM deleted_learners
    UNION
    SELECT user_id FROM snapshot_learners
), gone AS MATERIALIZED (
    SELECT k.user_id
    FROM known k
    CROSS JOIN LATERAL (SELECT event_store.erasure_digest(k.user_id) AS digest OFFSET 0) d
    WHERE encode(d.digest, 'hex') = ANY (CAST(:digests AS text[]))
       OR EXISTS (SELECT FROM event_store.erased x WHERE x.digest = d.digest)
), deleted AS (
    SELECT delete_learners(ARRAY(SELECT g.user_id FROM gone g))
), marked AS (
    INSERT INTO deleted_learners (user_id, version)
    SELECT g.user_id, CAST(CAST(pg_current_xact_id() AS text) AS bigint)
    FROM gone g
    WHERE EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || g.user_id)
    ON CONFLICT DO NOTHING
), unmarked AS (
    DELETE FROM deleted_learners d USING gone g
    WHERE d.user_id = g.user_id
      AND NOT EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || g.user_id)
)
SELECT count(*) FROM gone, deleted;
