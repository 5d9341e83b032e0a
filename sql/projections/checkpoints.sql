-- How far each shard of the log has been folded: by the realtime folds, and by the batch job.

-- table --
CREATE TABLE checkpoints (
    shard      smallint PRIMARY KEY,
    position   bigint NOT NULL,            -- all events of the shard up to here are in the read models
    updated_at timestamptz,                -- when the newest of them was recorded; null: none yet
    catalogue_version bigint NOT NULL DEFAULT 0,  -- of the transaction that last changed the catalogue by this shard's events
    swap_version      bigint NOT NULL DEFAULT 0   -- of the one that put this schema in another's place
) WITH (fillfactor = 50);

CREATE TABLE batch_checkpoints (
    shard              smallint PRIMARY KEY,
    position           bigint NOT NULL,    -- all of the shard's learners up to here are in the batch's tables
    catalogue_position bigint NOT NULL,    -- and all of the catalogue up to here
    updated_at         timestamptz,        -- of the run; null: none yet
    version            bigint NOT NULL DEFAULT 0   -- of the last run that changed anything
) WITH (fillfactor = 50);

CREATE VIEW shards_behind AS
SELECT c.shard, c.position, n.global_position AS next_position, n.created_at AS next_recorded_at
FROM checkpoints c
CROSS JOIN LATERAL (
    SELECT e.global_position, e.created_at
    FROM event_store.events e
    WHERE (e.shard, e.global_position) > (c.shard, c.position) AND (e.shard, e.global_position) < (c.shard + 1, 0)
    ORDER BY e.shard, e.global_position
    LIMIT 1
) n;

-- The read models whose lag is reported.
CREATE VIEW projections AS SELECT * FROM (VALUES {projections}) AS p (name, realtime);

INSERT INTO checkpoints       (shard, position)                     SELECT s, 0    FROM generate_series(0, 15) s;
INSERT INTO batch_checkpoints (shard, position, catalogue_position) SELECT s, 0, 0 FROM generate_series(0, 15) s;

-- functions --
-- How many events of a shard are not folded; of a great many no more than 100,000 are counted. By index, whatever the
-- planner takes to be quicker: of a log that was not vacuumed for a while it would read everything.
CREATE FUNCTION count_waiting(of_shard smallint) RETURNS bigint LANGUAGE plpgsql STABLE
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET random_page_cost = 0
    SET jit = off
AS $count$
BEGIN
    RETURN (
        SELECT count(*)
        FROM (
            SELECT
            FROM checkpoints c
            JOIN event_store.events e ON (e.shard, e.global_position) > (c.shard, c.position)
            WHERE c.shard = of_shard AND (e.shard, e.global_position) < (of_shard + 1, 0)
            LIMIT 100000
        ) counted);
END
$count$;

-- status --
-- How far each projection is behind the log. Realtime projections share the shards' checkpoints;
-- the batch job has its own.
WITH shards AS (
    SELECT TRUE AS realtime, shard, position, updated_at FROM checkpoints
    UNION ALL
    SELECT FALSE, shard, position, updated_at FROM batch_checkpoints
),
behind AS (
    SELECT
        s.realtime,
        max(s.updated_at)                   AS updated_at,
        CAST(sum(waiting.events) AS bigint) AS events,
        greatest(CAST(extract(epoch FROM CAST(:now AS timestamptz) - min(oldest.recorded_at))
            AS double precision), 0)        AS seconds
    FROM shards s
    CROSS JOIN LATERAL (
        SELECT count(*) AS events
        FROM events e
        WHERE (e.shard, e.global_position) > (s.shard, s.position)
          AND (e.shard, e.global_position) < (s.shard + 1, 0)
    ) AS waiting
    LEFT JOIN LATERAL (
        SELECT e.created_at AS recorded_at
        FROM events e
        WHERE (e.shard, e.global_position) > (s.shard, s.position)
          AND (e.shard, e.global_position) < (s.shard + 1, 0)
        ORDER BY e.shard, e.global_position
        LIMIT 1
    ) AS oldest ON TRUE
    GROUP BY s.realtime
)
SELECT
    p.name,
    p.realtime,
    coalesce(b.events, 0)                   AS events_behind,
    coalesce(b.seconds, 0)                  AS seconds_behind,
    CASE WHEN p.realtime AND (b.events > 1000 OR b.seconds > 5) THEN 'CRITICAL'
         WHEN b.seconds > 600 THEN 'CRITICAL'
         ELSE 'NORMAL' END                  AS status,
    b.updated_at
FROM projections p
LEFT JOIN behind b USING (realtime)
ORDER BY p.realtime DESC, p.name;

-- ready --
SELECT count(*) = 16 AS ready FROM checkpoints;
