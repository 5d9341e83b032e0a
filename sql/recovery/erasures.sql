-- Erasures after a restore: the ledger in the archive may name learners who are not erased in the restored log.

-- missing --
-- The ledger's digests of learners whom the database does not record as erased.
SELECT u.digest
FROM unnest(CAST(:digests AS text[])) AS u (digest)
WHERE NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = decode(u.digest, 'hex'))
ORDER BY u.digest;

-- learners --
-- The learners whose id has one of the given digests. The candidate ids are the ids of all learners with events
-- (one index look-up for each learner), and all words in the dead letters and the pending events.
WITH RECURSIVE streams (stream_id) AS (
    SELECT min(e.stream_id) FROM event_store.events e WHERE e.stream_id >= 'learner-' AND e.stream_id < 'learner.'
    UNION ALL
    SELECT (
        SELECT min(e.stream_id) FROM event_store.events e
        WHERE e.stream_id > s.stream_id AND e.stream_id < 'learner.')
    FROM streams s
    WHERE s.stream_id IS NOT NULL
), texts AS (
    SELECT concat_ws('"', l.payload, l.attributes) AS text FROM event_store.dead_letters l
    UNION ALL
    SELECT concat_ws('"', p.event_data, p.metadata) FROM event_store.pending p
), learners AS (
    SELECT substr(s.stream_id, 9) AS user_id FROM streams s WHERE s.stream_id IS NOT NULL
    UNION
    SELECT w FROM texts t CROSS JOIN LATERAL event_store.words(t.text) w
)
SELECT d.digest, l.user_id
FROM learners l
CROSS JOIN LATERAL (SELECT encode(event_store.erasure_digest(l.user_id), 'hex') AS digest OFFSET 0) d
WHERE d.digest = ANY (CAST(:digests AS text[]))
ORDER BY l.user_id;

-- unfinished --
-- The erasures in the restored database that are unfinished, or that failed after they had recorded the digest.
SELECT o.operation_id, o.finished_at IS NOT NULL AS has_failed
FROM operations.operations o
WHERE o.kind = 'ERASE_USER' AND (
    o.finished_at IS NULL
    OR o.state <> 'SUCCEEDED' AND EXISTS (SELECT FROM event_store.erased x WHERE x.operation_id = o.operation_id))
ORDER BY o.number;

-- record --
-- Record the digest of a learner whose id is not in this log. Later events of this learner are then dropped.
INSERT INTO event_store.erased (digest, operation_id, erased_at)
VALUES (decode(:digest, 'hex'), CAST(:operation_id AS uuid), CAST(:erased_at AS timestamptz))
ON CONFLICT DO NOTHING;

-- has erasures --
SELECT EXISTS (SELECT FROM event_store.erased);

-- replace key --
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
