-- One window of one shard, folded: the driver of all realtime folds. The models' own blocks stand in
-- the places in braces. A window is one call: one round trip, one transaction.

-- functions --
CREATE FUNCTION forget(learners text[]) RETURNS void LANGUAGE plpgsql AS $forget$
BEGIN
{forget}
END
$forget$;

CREATE FUNCTION erase(learners text[]) RETURNS void LANGUAGE plpgsql AS $erase$
BEGIN
PERFORM forget(learners);
{erase}
END
$erase$;

-- What the batch job writes of them.
CREATE FUNCTION erase_again(learners text[]) RETURNS void LANGUAGE plpgsql AS $erase$
BEGIN
{erase again}
END
$erase$;

-- The window of an earlier call in the same transaction.
CREATE FUNCTION clear_window() RETURNS void LANGUAGE plpgsql AS $clear$
BEGIN
{clear}
END
$clear$;

-- Adds what is in window_events, and the catalogue events of the window where it has some. Learners without a
-- past have no rows yet: nothing is looked up, and the tables need no keys. Where no window follows, what only
-- later ones look up is not kept.
CREATE FUNCTION fold_facts(
    window_shard smallint, window_start bigint, window_end bigint, has_past boolean, has_catalogue boolean,
    has_future boolean DEFAULT true
) RETURNS void LANGUAGE plpgsql AS $fold$
BEGIN
{fold}
END
$fold$;

-- Removes the learners whom these events delete; who they are.
CREATE FUNCTION fold_deletions(positions bigint[]) RETURNS text[] LANGUAGE plpgsql AS $fold$
DECLARE
    learners text[];
BEGIN
    WITH gone AS (
        INSERT INTO deleted_learners
        SELECT DISTINCT user_id, pg_current_xact_id()::text::bigint FROM deletion_facts WHERE global_position = ANY (positions)
        ON CONFLICT DO NOTHING
        RETURNING user_id
    )
    SELECT array_agg(user_id) INTO learners FROM gone;
    IF learners IS NOT NULL THEN
        PERFORM erase(learners);
        -- The batch job may have read their rows: what it is about to commit of them is erased, too.
        PERFORM pg_advisory_xact_lock(hashtext('reading ' || current_schema()), s.shard)
        FROM (SELECT DISTINCT shard FROM deletion_facts WHERE global_position = ANY (positions)) s;
        PERFORM erase_again(learners);
    END IF;
    RETURN learners;
END
$fold$;

-- Records these preference events and makes their learners' zones anew. Where one of them moves days of facts
-- already folded, it returns the first one's position and, unless `is_alone`, does nothing.
CREATE FUNCTION fold_preferences(positions bigint[], is_alone boolean) RETURNS bigint LANGUAGE plpgsql AS $fold$
DECLARE
    learners text[];
    moves_at bigint;
BEGIN
    INSERT INTO preferences
    SELECT user_id, occurred_at, event_id, timezone, day_start
    FROM preference_facts
    WHERE global_position = ANY (positions)
    ON CONFLICT DO NOTHING;

    SELECT array_agg(DISTINCT f.user_id),
        min(f.global_position) FILTER (WHERE CASE WHEN p.last_fact_at IS NULL THEN false
            ELSE p.last_fact_at >= zones_differ_from(f.user_id) END)
    INTO learners, moves_at
    FROM preference_facts f
    LEFT JOIN user_progress p ON p.user_id = f.user_id
    WHERE f.global_position = ANY (positions);

    IF moves_at IS NULL OR is_alone THEN
        DELETE FROM zones_in_force WHERE user_id = ANY (learners);
        INSERT INTO zones_in_force SELECT * FROM governing_zones WHERE user_id = ANY (learners);
    ELSE
        DELETE FROM preferences p
        USING preference_facts f
        WHERE f.global_position = ANY (positions)
          AND p.user_id = f.user_id AND p.occurred_at = f.occurred_at AND p.event_id = f.event_id;
    END IF;
    RETURN moves_at;
END
$fold$;

-- Folds all that a learner did, up to the end of the window, from nothing.
CREATE FUNCTION refold(learner text, window_shard smallint, window_start bigint, window_end bigint) RETURNS void
LANGUAGE plpgsql AS $fold$
BEGIN
    PERFORM forget(ARRAY[learner]);
    PERFORM clear_window();
    INSERT INTO window_events
    SELECT global_position, kind, user_id, occurred_at, event_id, created_at, correct, item_id, session_id,
        response_ms, interval_days, easiness_factor, score, duration_seconds
    FROM facts
    WHERE stream_id = 'learner-' || learner AND global_position <= window_end;
    PERFORM fold_facts(window_shard, window_start, window_end, false, false);
END
$fold$;

-- Whose rows the window has changed, as JSON: the learners in it, and those whom it deleted.
CREATE FUNCTION window_learners(deleted text[]) RETURNS text LANGUAGE plpgsql AS $learners$
BEGIN
    RETURN (
        SELECT json_agg(user_id)
        FROM (SELECT user_id FROM window_facts UNION SELECT unnest(deleted)) changed);
END
$learners$;

-- Folds the next window of at most `at_most` events. `folded` is how many they were; null where another worker
-- has the shard. With `is_heard` it tells what changed: the learners (JSON), by which version, and whether
-- the catalogue did.
CREATE FUNCTION fold_window(
    window_shard smallint, at_most int, is_heard boolean,
    OUT folded int, OUT changed_version bigint, OUT changed_learners text, OUT changed_catalogue boolean
) LANGUAGE plpgsql
    -- A plan made on empty tables lives on, so it must be one that is right for full ones.
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET random_page_cost = 0   -- the end of the log is in memory, and read by its shard's index
    SET jit = off
AS $fold$
DECLARE
    window_start  bigint;
    window_end    bigint;
    recorded_at   timestamptz;
    rare          bigint[];    -- positions of events that may change more than their own moment
    deleted       text[];
    moves_at      bigint;
BEGIN
    -- A statement of its own: what follows must see all that the last holder has committed.
    IF NOT pg_try_advisory_xact_lock(hashtext(current_schema()), window_shard) THEN
        RETURN;
    END IF;
    PERFORM clear_window();
    SELECT position INTO STRICT window_start FROM checkpoints WHERE shard = window_shard;

    INSERT INTO window_events
    SELECT global_position, kind, user_id, occurred_at, event_id, created_at, correct, item_id, session_id,
        response_ms, interval_days, easiness_factor, score, duration_seconds
    FROM facts
    WHERE (shard, global_position) > (window_shard, window_start)
      AND (shard, global_position) < (window_shard + 1, 0)
    ORDER BY shard, global_position
    LIMIT at_most;

    SELECT max(global_position), count(*), max(created_at),
        array_agg(global_position) FILTER (WHERE kind IN ('preference', 'deletion')), coalesce(bool_or(kind = 'catalogue'), false)
    INTO window_end, folded, recorded_at, rare, changed_catalogue
    FROM window_events;
    IF folded = 0 THEN
        PERFORM check_checkpoint(window_start);
        RETURN;
    END IF;
    changed_version := pg_current_xact_id()::text::bigint;

    IF rare IS NOT NULL THEN
        deleted := fold_deletions(rare);
        moves_at := fold_preferences(rare, folded = 1);
        IF moves_at IS NOT NULL AND folded > 1 THEN
            -- A refold has a window of its own: this one ends before it.
            SELECT w.folded, w.changed_version, w.changed_learners, w.changed_catalogue
            INTO folded, changed_version, changed_learners, changed_catalogue
            FROM fold_window(window_shard, greatest(1, (
                SELECT count(*)::int FROM window_events WHERE global_position < moves_at)), is_heard) w;
            IF is_heard THEN  -- who is deleted already is not found again
                changed_learners := window_learners(deleted);
            END IF;
            RETURN;
        END IF;
    END IF;

    IF moves_at IS NULL THEN
        PERFORM fold_facts(window_shard, window_start, window_end, window_start > 0, changed_catalogue);
    ELSE
        PERFORM refold(user_id, window_shard, window_start, window_end)
        FROM preference_facts
        WHERE global_position = moves_at;
    END IF;

    UPDATE checkpoints
    SET position = window_end, updated_at = recorded_at,
        catalogue_version = CASE WHEN changed_catalogue THEN changed_version ELSE catalogue_version END
    WHERE shard = window_shard;
    IF is_heard THEN
        changed_learners := window_learners(deleted);
    END IF;
END
$fold$;

-- Folds an event that was set aside and counts again now; what changed, as fold_window tells it. The batch job
-- goes back to it, too. Its caller holds the shard since before the transaction wrote anything: versions only grow.
CREATE FUNCTION fold_again(
    at bigint, OUT changed_version bigint, OUT changed_learners text, OUT changed_catalogue boolean
) LANGUAGE plpgsql
    SET enable_seqscan = off
    SET random_page_cost = 0
    SET jit = off
AS $fold$
DECLARE
    window_shard smallint;
    stream       text;
    reached      bigint;
    deleted      text[];
BEGIN
    SELECT e.shard, e.stream_id INTO STRICT window_shard, stream
    FROM event_store.events e
    WHERE e.global_position = at;
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), window_shard);
    PERFORM clear_window();
    SELECT position INTO STRICT reached FROM checkpoints WHERE shard = window_shard;
    IF at > reached THEN
        RETURN;
    END IF;
    changed_version := pg_current_xact_id()::text::bigint;
    changed_catalogue := stream NOT LIKE 'learner-%';
    IF NOT changed_catalogue THEN
        deleted := fold_deletions(ARRAY[at]);
        PERFORM fold_preferences(ARRAY[at], true);
        PERFORM refold(substr(stream, 9), window_shard, reached, reached);
    ELSE
        PERFORM fold_facts(window_shard, at - 1, at, true, true);
        UPDATE checkpoints SET catalogue_version = changed_version WHERE shard = window_shard;
    END IF;
    changed_learners := window_learners(deleted);
    UPDATE batch_checkpoints SET position = least(position, at - 1), catalogue_position = least(catalogue_position, at - 1);
END
$fold$;

-- A checkpoint past the log's end means that the log was restored from an older backup.
CREATE FUNCTION check_checkpoint(at bigint) RETURNS void LANGUAGE plpgsql AS $check$
DECLARE
    head bigint := (SELECT coalesce(max(e.global_position), 0) FROM event_store.events e);
BEGIN
    IF at > head THEN
        RAISE EXCEPTION 'the checkpoint is at %, the log ends at %', at, head USING ERRCODE = 'PR101';
    END IF;
END
$check$;

-- prepared --
SELECT to_regclass('pg_temp.window_facts') IS NOT NULL;

-- one --
SELECT * FROM fold_window(:shard, :at_most, :is_heard);

-- again --
SELECT changed_version, changed_learners, changed_catalogue FROM fold_again(:position);

-- hold --
-- The shard of an event, for this transaction.
SELECT pg_advisory_xact_lock(hashtext(current_schema()), shard) FROM event_store.events WHERE event_id = CAST(:event_id AS uuid);

-- waiting --
-- Shards with events that are not folded yet.
SELECT shard FROM shards_behind ORDER BY shard;

-- lag --
-- How many events of the shard wait, of a great many not all.
SELECT count(*)
FROM (
    SELECT FROM checkpoints c
    CROSS JOIN LATERAL (
        SELECT FROM event_store.events e
        WHERE (e.shard, e.global_position) > (c.shard, c.position) AND (e.shard, e.global_position) < (c.shard + 1, 0)
        LIMIT 100000
    ) n
    WHERE c.shard = :shard
) waiting;

-- next --
-- The position of the shard's next event.
SELECT next_position FROM shards_behind WHERE shard = :shard;

-- hold shard --
SELECT pg_advisory_xact_lock(hashtext(current_schema()), :shard);

-- set_aside --
-- The event that was the next when its window of one failed, unless another worker has come past it since.
SELECT event_store.set_aside(next_position, :error) FROM shards_behind WHERE shard = :shard AND next_position = :position;
