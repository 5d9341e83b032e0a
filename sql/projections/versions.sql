-- The versions show whether a cached response is current. A version is a transaction id. If a transaction changes rows
-- of a learner, of the catalogue or of the batch job, it locks the shard before it gets its id. Each version therefore
-- only grows.

-- table --
CREATE VIEW learner_versions AS
SELECT user_id, version FROM user_progress
UNION ALL
SELECT user_id, version FROM deleted_learners;

-- read --
-- The versions of some learners (null for one who is unknown or deleted), and those that all learners share. If
-- `now` is given: from `day_begins` until `day_ends`, it is the same local day in the same row of the view `segments`.
SELECT
    asked.user_id,
    (SELECT p.version FROM user_progress p WHERE p.user_id = asked.user_id) AS version,
    shared.schema, shared.catalogue, shared.batch, today.day_begins, today.day_ends
FROM unnest(CAST(:user_ids AS text[]), CAST(:times AS timestamptz[])) WITH ORDINALITY AS asked (user_id, now, place)
CROSS JOIN (
    SELECT max(swap_version) AS schema, CAST(sum(catalogue_version) AS bigint) AS catalogue,
        (SELECT CAST(sum(version) AS bigint) FROM batch_checkpoints) AS batch
    FROM checkpoints
) AS shared
LEFT JOIN LATERAL (
    SELECT
        greatest(here.starts_at, CAST(CAST(asked.now + zone.shift AS date) AS timestamptz) - zone.shift) AS day_begins,
        least(here.ends_at, CAST(CAST(asked.now + zone.shift AS date) + 1 AS timestamptz) - zone.shift)  AS day_ends
    FROM (SELECT) AS at
    LEFT JOIN segments here
        ON here.user_id = asked.user_id AND here.starts_at <= asked.now AND here.ends_at > asked.now
    CROSS JOIN LATERAL (SELECT coalesce(here.shift, INTERVAL '0 hours') AS shift) AS zone
    WHERE asked.now IS NOT NULL
    OFFSET 0
) AS today ON TRUE
ORDER BY asked.place;

-- position --
-- The position up to which all shards are folded, and the time at which the event at this position was recorded.
WITH reached AS (
    SELECT coalesce(min(n.next_position) - 1, max(h.position), 0) AS position
    FROM (SELECT max(global_position) AS position FROM events) AS h
    LEFT JOIN shards_behind n ON TRUE
)
SELECT r.position, e.created_at AS recorded_at
FROM reached r
LEFT JOIN events e ON e.global_position = r.position;
