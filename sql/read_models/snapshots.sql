-- Snapshots: what the realtime tables hold of a learner at a version of the learner's stream, so that an as-of
-- answer need not begin with the first event. The batch job takes them; see as_of.sql for their use.

-- table --
-- Who did something since it was last looked at how far they have come; everyone after a rebuild.
CREATE TABLE snapshot_learners (
    user_id text COLLATE "C" PRIMARY KEY
);

-- fold --
INSERT INTO snapshot_learners SELECT user_id FROM batch_learners ON CONFLICT DO NOTHING;

-- delete_learners --
DELETE FROM snapshot_learners WHERE user_id = ANY (learners);
DELETE FROM event_store.snapshots WHERE stream_id = ANY (ARRAY(SELECT 'learner-' || l FROM unnest(learners) l));

-- functions --
-- Of the tables that a snapshot is taken of: their folds, and which tables they are, so that nothing of what
-- a rebuild has replaced is used any more.
CREATE FUNCTION snapshot_fingerprint() RETURNS text LANGUAGE sql STABLE AS $fingerprint$
SELECT substr(n.nspname, 10, 12) || '-' || n.oid   -- after 'progress_'
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = 'window_shape'::regclass
$fingerprint$;

-- The positions of what is set aside among the first events of a stream.
CREATE FUNCTION set_aside_until(stream text, version bigint) RETURNS bigint[] LANGUAGE sql STABLE AS $aside$
SELECT coalesce(array_agg(e.global_position ORDER BY e.global_position), '{}')
FROM event_store.poisoned p
JOIN event_store.events e ON e.global_position = p.global_position
WHERE e.stream_id = stream AND e.stream_version <= version
$aside$;

-- The versions of a learner's snapshots that hold nothing which happened or was recorded later.
CREATE FUNCTION snapshots_until(stream text, happened_by timestamptz, recorded_by timestamptz) RETURNS SETOF bigint
LANGUAGE sql STABLE AS $until$
SELECT s.stream_version
FROM event_store.snapshots s
JOIN event_store.events e ON e.stream_id = s.stream_id AND e.stream_version = s.stream_version
WHERE s.stream_id = stream AND s.fingerprint = snapshot_fingerprint()
  AND s.newest_occurred_at <= happened_by AND e.created_at <= recorded_by
  AND s.set_aside = set_aside_until(stream, s.stream_version)
$until$;

-- How far the folds have come in a learner's stream.
CREATE FUNCTION version_folded(learner text) RETURNS bigint LANGUAGE sql STABLE AS $version$
SELECT e.stream_version
FROM event_store.events e
WHERE e.stream_id = 'learner-' || learner AND e.global_position <= (
    SELECT c.position FROM checkpoints c WHERE c.shard = event_store.shard_of('learner-' || learner))
ORDER BY e.stream_version DESC
LIMIT 1
$version$;

-- Strikes those from snapshot_learners who have not come `event_interval` events further since their last one.
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
    FOR UPDATE SKIP LOCKED   -- another task of the job strikes them
)
$due$;

-- Takes the snapshots of the next learners, and keeps the newest `kept` of each; how many learners they were.
CREATE FUNCTION take_snapshots(at_most int, kept int) RETURNS int LANGUAGE plpgsql
    SET enable_seqscan = off
    SET random_page_cost = 0
    SET jit = off
AS $take$
DECLARE
    learners text[];
    streams  text[];
BEGIN
    -- Folds go on, but a deletion waits: it must find the snapshot, to take it along. And a swap: the rows, the version
    -- and the fingerprint are those of one schema.
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

    -- One statement sees one state: the rows are those of the version.
    INSERT INTO event_store.snapshots (stream_id, stream_version, fingerprint, newest_occurred_at, set_aside, state)
    SELECT v.stream_id, v.stream_version, snapshot_fingerprint(), greatest(last.newest_occurred_at, since.newest_occurred_at),
        set_aside_until(v.stream_id, v.stream_version), s.state
    FROM (
        SELECT p.user_id, 'learner-' || p.user_id AS stream_id, version_folded(p.user_id) AS stream_version
        FROM user_progress p
        WHERE p.user_id = ANY (learners)
    ) v
    LEFT JOIN LATERAL (
        SELECT s.stream_version, s.newest_occurred_at
        FROM event_store.snapshots s
        WHERE s.stream_id = v.stream_id AND s.stream_version <= v.stream_version
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
        SELECT stream_id, stream_version, fingerprint, row_number() OVER (
            PARTITION BY stream_id ORDER BY fingerprint = snapshot_fingerprint() DESC, stream_version DESC) AS place
        FROM event_store.snapshots
        WHERE stream_id = ANY (streams)
    ) r
    WHERE r.place > kept
      AND s.stream_id = r.stream_id AND s.stream_version = r.stream_version AND s.fingerprint = r.fingerprint;
    RETURN cardinality(learners);
END
$take$;

-- The rows of each model, by its block `snapshot`: as the text of an array or, where an answer needs a few of many,
-- as such texts by item or session.
CREATE FUNCTION snapshot_state(learner text) RETURNS jsonb LANGUAGE sql STABLE AS $state$
SELECT jsonb_build_object(
{snapshot}
)
$state$;

-- drop_learners_not_due --
SELECT drop_learners_not_due(:event_interval);

-- take --
SELECT take_snapshots(:at_most, :kept);

-- drop_orphans --
-- Snapshots of tables that are gone.
DELETE FROM event_store.snapshots
WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid::text = split_part(fingerprint, '-', 2));
