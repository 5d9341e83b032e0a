-- Versions: what tells whether an answer that was computed before still holds. A version is the number of a
-- transaction. One that changes a learner's rows, or the catalogue's, or the batch's, holds their shard before it gets
-- its number: so each version only grows.

-- table --
CREATE VIEW learner_versions AS
SELECT user_id, version FROM user_progress
UNION ALL
SELECT user_id, version FROM deleted_learners;

-- learner --
-- 0 for a learner without events. And until when the learner's local day is the present one, at the longest.
SELECT coalesce(v.version, 0)                          AS learner,
    least(here.ends_at, CAST(CAST(asked.now + zone.shift AS date) + 1 AS timestamptz) - zone.shift) AS day_ends
FROM (SELECT CAST(:now AS timestamptz) AS now) AS asked
LEFT JOIN learner_versions v ON v.user_id = :user_id
LEFT JOIN segments here ON here.user_id = :user_id AND here.starts_at <= asked.now AND here.ends_at > asked.now
CROSS JOIN LATERAL (SELECT coalesce(here.shift, INTERVAL '0 hours') AS shift) AS zone;

-- learners --
-- Those of them that have events or are deleted.
SELECT user_id, version FROM learner_versions WHERE user_id = ANY (CAST(:user_ids AS text[]));

-- catalogue --
-- By whatever shard it changed.
SELECT CAST(sum(catalogue_version) AS bigint) FROM checkpoints;

-- batch --
-- Of each shard, in order: its learners' part, and the denominators, which are everyone's.
SELECT CAST(version + sum(counts_version) OVER () AS bigint) FROM batch_checkpoints ORDER BY shard;

-- swap --
SELECT max(swap_version) FROM checkpoints;

-- shared --
-- What all learners' answers have in common: the versions of the schema, of the catalogue, and of each shard's batch
-- tables; and the position that all shards are folded up to, with the moment at which that event was recorded.
WITH reached AS (
    SELECT coalesce(min(n.next_position) - 1, max(h.position), 0) AS position
    FROM (SELECT max(global_position) AS position FROM events) AS h
    LEFT JOIN shards_behind n ON TRUE
)
SELECT c.swap, c.catalogue, b.batch, r.position, e.created_at AS recorded_at
FROM reached r
CROSS JOIN (SELECT max(swap_version) AS swap, CAST(sum(catalogue_version) AS bigint) AS catalogue FROM checkpoints) AS c
CROSS JOIN (
    SELECT array_agg(version ORDER BY shard) AS batch
    FROM (SELECT shard, CAST(version + sum(counts_version) OVER () AS bigint) AS version FROM batch_checkpoints) AS counted
) AS b
LEFT JOIN events e ON e.global_position = r.position;
