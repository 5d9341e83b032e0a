-- Checkpoints: the position up to which each shard is folded, by the realtime folds and by the batch job.

-- table --
CREATE TABLE checkpoints (
    shard      smallint PRIMARY KEY,
    position   bigint NOT NULL,            -- all events of the shard up to this position are in the read models
    updated_at timestamptz,                -- when the newest of these events was recorded; null: no event
    catalogue_version bigint NOT NULL DEFAULT 0,  -- the last transaction in which this shard changed the catalogue
    swap_version      bigint NOT NULL DEFAULT 0,  -- the transaction that swapped this schema in
    fold_until        bigint NOT NULL DEFAULT 9223372036854775807   -- a schema that is being built stops here
) WITH (fillfactor = 50);

CREATE TABLE batch_checkpoints (
    shard              smallint PRIMARY KEY,
    position           bigint NOT NULL,    -- the shard's learners are folded up to this position
    catalogue_position bigint NOT NULL,    -- the catalogue is folded up to this position
    updated_at         timestamptz,        -- the time of the last run; null: no run
    version            bigint NOT NULL DEFAULT 0   -- the transaction of the last run that changed rows
) WITH (fillfactor = 50);

CREATE VIEW shards_behind AS
SELECT c.shard, c.position, n.global_position AS next_position, n.created_at AS next_recorded_at
FROM checkpoints c
CROSS JOIN LATERAL (
    SELECT e.global_position, e.created_at
    FROM event_store.events e
    WHERE (e.shard, e.global_position) > (c.shard, c.position)
      AND (e.shard, e.global_position) <= (c.shard, c.fold_until)
    ORDER BY e.shard, e.global_position
    LIMIT 1
) n;

-- The read models whose lag is reported.
CREATE VIEW projections AS SELECT * FROM (VALUES {projections}) AS p (place, name, realtime);

INSERT INTO checkpoints       (shard, position)                     SELECT s, 0    FROM generate_series(0, 15) s;
INSERT INTO batch_checkpoints (shard, position, catalogue_position) SELECT s, 0, 0 FROM generate_series(0, 15) s;

-- functions --
-- Return the fingerprint of this schema's folds, also while the schema has another name. It is a constant, because each
-- fold needs it; the planner would run an immutable function, and inlines a stable one.
DO $define$
BEGIN
    EXECUTE format('CREATE FUNCTION schema_fingerprint() RETURNS text LANGUAGE sql STABLE RETURN %L',
        substr(current_schema(), 10, 12));   -- after 'progress_'
END
$define$;

-- Count the shard's events that are not folded, up to 100,000. The settings force the index, because the planner would
-- read the whole table if the log had not been vacuumed.
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

-- The items with catalogue events that are not folded.
CREATE FUNCTION waiting_items() RETURNS SETOF text LANGUAGE plpgsql STABLE
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET random_page_cost = 0
    SET jit = off
AS $waiting$
BEGIN
    RETURN QUERY
    SELECT DISTINCT substr(e.stream_id, 6)   -- after 'item-'
    FROM checkpoints c
    CROSS JOIN LATERAL (
        SELECT e.stream_id, e.event_type
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (c.shard, c.position) AND (e.shard, e.global_position) < (c.shard + 1, 0)
        OFFSET 0
    ) e
    WHERE e.event_type IN ({catalogue_types});
END
$waiting$;

-- status --
-- The lag of each projection. Realtime projections share the shards' checkpoints; the batch job has its own. The last
-- row is the lag of what leaves the system.
WITH shards AS (
    SELECT TRUE AS realtime, shard, position, updated_at FROM checkpoints
    UNION ALL
    SELECT FALSE, shard, position, updated_at FROM batch_checkpoints
),
behind AS (
    SELECT
        CAST(s.realtime AS text)            AS source,
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
    UNION ALL
    SELECT
        'out',
        (SELECT max(c.updated_at) FROM event_store.publisher_checkpoints c),
        u.unpublished,
        greatest(CAST(extract(epoch FROM CAST(:now AS timestamptz) - u.oldest_at) AS double precision), 0)
    FROM event_store.count_unpublished() u
)
SELECT
    p.name,
    p.realtime,
    coalesce(b.events, 0)                   AS events_behind,
    coalesce(b.seconds, 0)                  AS seconds_behind,
    CASE WHEN p.realtime AND (b.events > :max_events OR b.seconds > :max_seconds) THEN 'CRITICAL'
         WHEN NOT p.realtime AND b.seconds > :max_batch_seconds THEN 'CRITICAL'
         ELSE 'NORMAL' END                  AS status,
    b.updated_at,
    CASE WHEN p.name = 'learning_streaks' THEN (
        SELECT d.changed_at FROM event_store.milestone_definitions d
        WHERE d.definition = {read_models/milestones name}) END AS changed_at
FROM (
    SELECT place, name, realtime, CAST(realtime AS text) AS source FROM projections
    UNION ALL
    SELECT 1000, 'events out', TRUE, 'out'
) p
LEFT JOIN behind b USING (source)
ORDER BY p.place;

-- ready --
SELECT count(*) = 16 AS ready FROM checkpoints;
