-- The driver of the batch folds: fold what changed since the last run. The name in braces stands for the batch models'
-- folds.

-- window --
CREATE TEMPORARY TABLE batch_items (item_id varchar(200) COLLATE "C" PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_learners (
    user_id      varchar(200) COLLATE "C" PRIMARY KEY,
    changed_week date NOT NULL             -- Monday of the first week that may have changed; infinity: no week
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_answers (LIKE remembered_answers) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_reached (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;

-- functions --
-- Find what changed since the last run: items with a new description, learners of these shards with new events, and the
-- learners of those items.
CREATE FUNCTION find_changes(shards smallint[], catalogue_start bigint, catalogue_end bigint) RETURNS void
LANGUAGE plpgsql
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET random_page_cost = 0   -- use indexes, because changes are few and recent, however large the log is
    SET jit = off
AS $find$
DECLARE
    is_first boolean := EXISTS (SELECT FROM batch_checkpoints b WHERE b.shard = ANY (shards) AND b.position = 0);
    is_later boolean := EXISTS (SELECT FROM batch_checkpoints b WHERE b.shard = ANY (shards) AND b.position > 0);
BEGIN
    INSERT INTO batch_items
    SELECT item_id FROM items WHERE catalogue_start = 0  -- first run: every item, without reading the log
    UNION
    SELECT f.item_id
    FROM checkpoints c
    CROSS JOIN LATERAL (
        SELECT f.item_id
        FROM catalogue_facts f
        WHERE (f.shard, f.global_position) > (c.shard, catalogue_start)
          AND (f.shard, f.global_position) <= (c.shard, catalogue_end)
        OFFSET 0
    ) f
    WHERE catalogue_start > 0;

    -- A local day differs from the date in UTC by at most two days. New preferences may move every day. A retraction
    -- changes the day of the event that it retracts. No row of the batch depends on lists.
    INSERT INTO batch_learners
    SELECT p.user_id, '-infinity'
    FROM user_progress p
    JOIN batch_checkpoints b ON b.shard = event_store.shard_of('learner-' || p.user_id)
    WHERE is_first AND b.shard = ANY (shards) AND b.position = 0
    UNION ALL
    SELECT substr(e.stream_id, 9),
        min(CASE WHEN e.event_type IN ({preference_types}) THEN '-infinity'
            ELSE date_trunc('week', (least(e.occurred_at, r.occurred_at) - INTERVAL '2 days') AT TIME ZONE 'UTC')::date
            END)
    FROM batch_checkpoints b
    JOIN checkpoints c ON c.shard = b.shard
    CROSS JOIN LATERAL (
        SELECT e.stream_id, e.event_type, e.occurred_at, e.event_data
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (b.shard, b.position)
          AND (e.shard, e.global_position) <= (c.shard, c.position)
        OFFSET 0
    ) e
    LEFT JOIN LATERAL (
        SELECT r.occurred_at
        FROM event_store.events r
        WHERE e.event_type IN ({retraction_types})
          AND r.event_id = event_store.event_uuid(e.event_data ->> 'retracted_event_id')
        OFFSET 0
    ) r ON true
    WHERE b.shard = ANY (shards) AND b.position > 0 AND e.stream_id LIKE 'learner-%'
      AND e.event_type NOT IN ({list_types})
    GROUP BY e.stream_id;

    INSERT INTO batch_learners
    SELECT DISTINCT s.user_id, date 'infinity'
    FROM batch_items i
    CROSS JOIN LATERAL (SELECT s.user_id FROM item_stats s WHERE s.item_id = i.item_id OFFSET 0) s
    WHERE is_later
      AND event_store.shard_of('learner-' || s.user_id) = ANY (shards)
    ON CONFLICT DO NOTHING;
END
$find$;

-- Fold the changes of these shards' learners; return the number of learners, or null if another run has locked one of
-- the shards.
CREATE FUNCTION fold_batch(shards smallint[]) RETURNS int LANGUAGE plpgsql
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $fold$
DECLARE
    began           jsonb;    -- for each shard: position and catalogue_position before this run
    reached         jsonb;    -- for each shard: the position up to which its learners are folded
    catalogue_start bigint;
    catalogue_end   bigint;   -- the position up to which all shards are folded, and therefore the whole catalogue
    is_behind       boolean;
    how_many        int := 0;
    is_changed      boolean := false;
    added_rows      bigint;   -- of a conclusion, as in fold_facts
BEGIN
    IF NOT (
        SELECT bool_and(pg_try_advisory_xact_lock(hashtext('batch ' || current_schema()), s)) FROM unnest(shards) s
    ) THEN
        RETURN NULL;
    END IF;

    SELECT jsonb_object_agg(b.shard, jsonb_build_array(b.position, b.catalogue_position)) INTO began
    FROM batch_checkpoints b
    WHERE b.shard = ANY (shards);

    SELECT jsonb_object_agg(c.shard, c.position), coalesce(min(n.next_position) - 1, max(h.head))
    INTO reached, catalogue_end
    FROM checkpoints c
    LEFT JOIN shards_behind n ON n.shard = c.shard
    CROSS JOIN (SELECT coalesce(max(e.global_position), 0) AS head FROM event_store.events e) h;

    SELECT min(b.catalogue_position), bool_or(b.position < (reached ->> b.shard::text)::bigint)
    INTO catalogue_start, is_behind
    FROM batch_checkpoints b
    WHERE b.shard = ANY (shards);
    IF is_behind OR catalogue_start < catalogue_end THEN
        PERFORM find_changes(shards, catalogue_start, catalogue_end);
        SELECT count(*) INTO how_many FROM batch_learners;
        is_changed := how_many > 0 OR EXISTS (SELECT FROM batch_items);
        ANALYZE batch_learners;
        ANALYZE batch_items;
{batch_folds}
        -- Delete the rows of learners who were deleted meanwhile. A later deletion waits until this transaction ends,
        -- and then finds and deletes the rows.
        PERFORM pg_advisory_xact_lock_shared(hashtext('reading ' || current_schema()), s) FROM unnest(shards) s;
        PERFORM delete_batch_rows(
            ARRAY(SELECT d.user_id FROM deleted_learners d JOIN batch_learners b ON b.user_id = d.user_id));
    END IF;

    -- This run's results also cover events that were folded after `reached` was read. The next run processes them
    -- again, which changes nothing. A position that refold_event has set back meanwhile is left as it is.
    UPDATE batch_checkpoints b
    SET position = CASE WHEN b.position < (began -> b.shard::text ->> 0)::bigint
            THEN b.position ELSE (reached ->> b.shard::text)::bigint END,
        catalogue_position = CASE WHEN b.catalogue_position < (began -> b.shard::text ->> 1)::bigint
            THEN b.catalogue_position ELSE catalogue_end END,
        updated_at = clock_timestamp(),
        version = CASE WHEN is_changed THEN pg_current_xact_id()::text::bigint ELSE b.version END
    WHERE b.shard = ANY (shards);
    IF is_changed THEN
        PERFORM mark_milestones(ARRAY(SELECT r.user_id FROM batch_reached r));
    END IF;
    RETURN how_many;
END
$fold$;

-- log_end --
SELECT coalesce(max(e.global_position), 0) FROM event_store.events e;
