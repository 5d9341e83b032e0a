-- A snapshot consists of a learner's rows in the realtime tables at one version of the learner's stream. The batch job
-- takes the snapshots, for the Python API. Queries about the past read only newest_occurred_at
-- (sql/projections/as_of.sql): definitions cannot continue from rows.
--
-- snapshot_learners is a queue. It is not a read model, because its rows depend not only on the events but also on the
-- existing snapshots. The batch job empties the queue. A rebuild fills it with all learners, because the former
-- schema's snapshots are not used.

-- table --
-- The learners with new events since the batch job last emptied the queue; after a rebuild, all learners.
CREATE TABLE snapshot_learners (
    user_id text COLLATE "C" PRIMARY KEY
);

-- fold --
INSERT INTO snapshot_learners SELECT user_id FROM batch_learners ON CONFLICT DO NOTHING;

-- delete_learners --
DELETE FROM snapshot_learners WHERE user_id = ANY (learners);
DELETE FROM event_store.snapshots WHERE stream_id = ANY (ARRAY(SELECT 'learner-' || l FROM unnest(learners) l));

-- functions --
-- Return an id of the current folds and tables. A snapshot with another id is not used: it comes from other folds, or
-- from tables that a rebuild has replaced.
CREATE FUNCTION snapshot_fingerprint() RETURNS text LANGUAGE sql STABLE AS $fingerprint$
SELECT substr(n.nspname, 10, 12) || '-' || n.oid   -- after 'progress_'
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = 'window_shape'::regclass
$fingerprint$;

-- The positions of the poisoned events up to a version of a stream.
CREATE FUNCTION poisoned_until(stream text, version bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $poisoned$
SELECT coalesce(array_agg(e.global_position ORDER BY e.global_position), '{}')
FROM poisoned_events p
JOIN event_store.events e ON e.global_position = p.global_position
WHERE e.stream_id = stream AND e.stream_version <= version
$poisoned$;

-- The version up to which a learner's stream is folded.
CREATE FUNCTION version_folded(learner text) RETURNS bigint LANGUAGE sql STABLE AS $version$
SELECT e.stream_version
FROM event_store.events e
WHERE e.stream_id = 'learner-' || learner AND e.global_position <= (
    SELECT c.position FROM checkpoints c WHERE c.shard = event_store.shard_of('learner-' || learner))
ORDER BY e.stream_version DESC
LIMIT 1
$version$;

-- Delete from snapshot_learners the learners who have fewer than event_interval new events since their last snapshot.
CREATE FUNCTION drop_learners_not_due(event_interval bigint) RETURNS void LANGUAGE sql
    SET enable_seqscan = off
    SET random_page_cost = 0
    SET jit = off
AS $due$
DELETE FROM snapshot_learners
WHERE user_id IN (
    SELECT l.user_id
    FROM snapshot_learners l
    WHERE coalesce(version_folded(l.user_id), 0) < event_interval + coalesce((
        SELECT max(s.stream_version)
        FROM event_store.snapshots s
        WHERE s.stream_id = 'learner-' || l.user_id AND s.fingerprint = snapshot_fingerprint()), 0)
    FOR UPDATE SKIP LOCKED   -- another task of the batch job deletes the locked rows
)
$due$;

-- Take snapshots of the first `at_most` learners in snapshot_learners, or of all if there are fewer. Of each of these
-- learners, keep only the newest `kept` snapshots of this schema. Return the number of learners.
CREATE FUNCTION take_snapshots(at_most int, kept int) RETURNS int LANGUAGE plpgsql
    SET enable_seqscan = off
    SET random_page_cost = 0
    SET jit = off
AS $take$
DECLARE
    learners text[];
    streams  text[];
BEGIN
    -- Folds do not wait for this lock. A deletion waits, because it must find and delete the snapshot. A swap waits, so
    -- that rows, version and fingerprint belong to one schema.
    PERFORM pg_advisory_xact_lock_shared(hashtext('reading ' || current_schema()), s) FROM generate_series(0, 15) s;

    WITH next AS (
        DELETE FROM snapshot_learners
        WHERE user_id IN (SELECT user_id FROM snapshot_learners ORDER BY user_id LIMIT at_most FOR UPDATE SKIP LOCKED)
        RETURNING user_id
    )
    SELECT array_agg(user_id), array_agg('learner-' || user_id) INTO learners, streams FROM next;
    IF learners IS NULL THEN
        RETURN 0;
    END IF;

    -- One statement reads the rows and the version. They match, because both are of the same state of the database.
    INSERT INTO event_store.snapshots (stream_id, stream_version, fingerprint, newest_occurred_at, quarantined, state)
    SELECT v.stream_id, v.stream_version, snapshot_fingerprint(),
        greatest(last.newest_occurred_at, since.newest_occurred_at),
        poisoned_until(v.stream_id, v.stream_version), s.state
    FROM (
        SELECT p.user_id, 'learner-' || p.user_id AS stream_id, version_folded(p.user_id) AS stream_version
        FROM user_progress p
        WHERE p.user_id = ANY (learners)
    ) v
    LEFT JOIN LATERAL (
        SELECT s.stream_version, s.newest_occurred_at
        FROM event_store.snapshots s
        WHERE s.stream_id = v.stream_id AND s.stream_version <= v.stream_version
          AND s.fingerprint = snapshot_fingerprint()
        ORDER BY s.stream_version DESC
        LIMIT 1
    ) last ON true
    CROSS JOIN LATERAL (
        SELECT max(e.occurred_at) AS newest_occurred_at
        FROM event_store.events e
        WHERE e.stream_id = v.stream_id
          AND e.stream_version > coalesce(last.stream_version, 0) AND e.stream_version <= v.stream_version
    ) since
    CROSS JOIN LATERAL snapshot_state(v.user_id) s (state)
    ON CONFLICT DO NOTHING;

    DELETE FROM event_store.snapshots s
    USING (
        SELECT stream_id, stream_version, row_number() OVER (
            PARTITION BY stream_id ORDER BY stream_version DESC) AS place
        FROM event_store.snapshots
        WHERE stream_id = ANY (streams) AND fingerprint = snapshot_fingerprint()
    ) r
    WHERE r.place > kept
      AND s.stream_id = r.stream_id AND s.stream_version = r.stream_version
      AND s.fingerprint = snapshot_fingerprint();
    RETURN cardinality(learners);
END
$take$;

-- Return the learner's rows of each model. One text holds all rows as an array, unless the model has its own block
-- `snapshot`: if a program needs only few rows of a model, this model has one text for each item or session.
CREATE FUNCTION snapshot_state(learner text) RETURNS jsonb LANGUAGE sql STABLE AS $state$
SELECT jsonb_build_object(
{snapshot}
)
$state$;

-- drop_orphans --
-- Delete the snapshots of schemas that do not exist any more. Other fingerprints belong to other programs.
DELETE FROM event_store.snapshots
WHERE fingerprint ~ '^[0-9a-f]{12}-[0-9]+$'
  AND NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid::text = split_part(fingerprint, '-', 2));
