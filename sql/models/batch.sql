-- The batch job's driver: what changed since its last run, folded. The batch models' own blocks stand in
-- the place in braces.

-- window --
CREATE TEMPORARY TABLE batch_items (item_id text COLLATE "C" PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_learners (
    user_id text COLLATE "C" PRIMARY KEY,
    since   bigint NOT NULL                -- the position that the learner's rows were made at
) ON COMMIT DELETE ROWS;

-- functions --
-- Folds what changed for the learners of these shards; how many learners they were. Null where another run has one.
CREATE FUNCTION fold_batch(shards smallint[]) RETURNS int LANGUAGE plpgsql
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $fold$
DECLARE
    ends        record;
    how_many    int;
BEGIN
    IF NOT (SELECT bool_and(pg_try_advisory_xact_lock(hashtext('batch ' || current_schema()), s)) FROM unnest(shards) s) THEN
        RETURN NULL;
    END IF;

    -- Up to where the realtime folds have come: each shard, and the log as a whole.
    SELECT jsonb_object_agg(c.shard, c.position) AS positions,
        min(CASE WHEN EXISTS (
                SELECT FROM event_store.events e
                WHERE (e.shard, e.global_position) > (c.shard, c.position)
                  AND (e.shard, e.global_position) < (c.shard + 1, 0))
            THEN c.position ELSE greatest(c.position, h.head) END) AS catalogue
    INTO ends
    FROM checkpoints c
    CROSS JOIN (SELECT coalesce(max(e.global_position), 0) AS head FROM event_store.events e) h;

    INSERT INTO batch_items
    SELECT DISTINCT f.item_id
    FROM catalogue_facts f
    WHERE f.global_position > (SELECT min(b.catalogue_position) FROM batch_checkpoints b WHERE b.shard = ANY (shards))
      AND f.global_position <= ends.catalogue;

    INSERT INTO batch_learners
    SELECT DISTINCT substr(e.stream_id, 9), b.position
    FROM batch_checkpoints b
    CROSS JOIN LATERAL (
        SELECT e.stream_id
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (b.shard, b.position)
          AND (e.shard, e.global_position) <= (b.shard, (ends.positions ->> b.shard::text)::bigint)
        OFFSET 0
    ) e
    WHERE b.shard = ANY (shards) AND e.stream_id LIKE 'learner-%';

    INSERT INTO batch_learners
    SELECT DISTINCT s.user_id, b.position
    FROM batch_items i
    JOIN item_stats s ON s.item_id = i.item_id
    JOIN batch_checkpoints b ON b.shard = event_store.shard_of('learner-' || s.user_id)
    WHERE b.shard = ANY (shards)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS how_many = ROW_COUNT;

    IF EXISTS (SELECT FROM batch_learners) OR EXISTS (SELECT FROM batch_items) THEN
        ANALYZE batch_learners;
{fold}
    END IF;

    UPDATE batch_checkpoints b
    SET position = (ends.positions ->> b.shard::text)::bigint, catalogue_position = ends.catalogue, updated_at = clock_timestamp()
    WHERE b.shard = ANY (shards);
    RETURN (SELECT count(*) FROM batch_learners);
END
$fold$;

-- one --
SELECT fold_batch(:shards);
