-- The versions show whether a cached response is current. A version is a transaction id. If a transaction changes rows
-- of a learner, of the catalogue or of the batch job, it locks the shard before it gets its id. Each version therefore
-- only grows.

-- table --
CREATE VIEW learner_versions AS
SELECT user_id, version FROM user_progress
UNION ALL
SELECT user_id, version FROM deleted_learners;

-- learner --
-- The learner's version (0 without events), and whether the learner is known and not deleted. From `day_begins` until
-- `day_ends`, it is the same local day in the same row of the view `segments`.
SELECT coalesce(v.version, 0)                          AS learner,
    EXISTS (SELECT FROM user_progress p WHERE p.user_id = :user_id) AS is_known,
    greatest(here.starts_at, CAST(CAST(asked.now + zone.shift AS date) AS timestamptz) - zone.shift) AS day_begins,
    least(here.ends_at, CAST(CAST(asked.now + zone.shift AS date) + 1 AS timestamptz) - zone.shift) AS day_ends
FROM (SELECT CAST(:now AS timestamptz) AS now) AS asked
LEFT JOIN learner_versions v ON v.user_id = :user_id
LEFT JOIN segments here ON here.user_id = :user_id AND here.starts_at <= asked.now AND here.ends_at > asked.now
CROSS JOIN LATERAL (SELECT coalesce(here.shift, INTERVAL '0 hours') AS shift) AS zone;

-- learners --
-- The versions of the given learners that have events or are deleted.
SELECT user_id, version FROM learner_versions WHERE user_id = ANY (CAST(:user_ids AS text[]));

-- shared --
-- The versions that all learners share, the position up to which all shards are folded, and the time at which the event
-- at this position was recorded.
WITH reached AS (
    SELECT coalesce(min(n.next_position) - 1, max(h.position), 0) AS position
    FROM (SELECT max(global_position) AS position FROM events) AS h
    LEFT JOIN shards_behind n ON TRUE
)
SELECT c.schema, c.catalogue, b.batch, r.position, e.created_at AS recorded_at
FROM reached r
CROSS JOIN (
    SELECT max(swap_version) AS schema, CAST(sum(catalogue_version) AS bigint) AS catalogue FROM checkpoints
) AS c
CROSS JOIN (SELECT CAST(sum(version) AS bigint) AS batch FROM batch_checkpoints) AS b
LEFT JOIN events e ON e.global_position = r.position;
