-- The driver of all realtime folds: one call folds one window of one shard, in one transaction. Names in braces stand
-- for the models' blocks of that name, joined (see schema.py).
--
-- Tables: `checkpoints` has the position up to which each shard is folded. `window_events` has the window's events, and
-- the other temporary tables `window_…` what the folds pass on to later ones: facts, days, items, completions.
--
-- Verbs: to *fold* is to add what a window's events change to the rows of facts. To *conclude* is to replace rows that
-- follow from facts by their definition, if these facts changed. To *refold* is to fold a learner's whole history
-- again, because a change of zone moves facts to other days, or a retraction takes out an event that cannot be
-- subtracted. To *mark* is to note which milestones will be told.
--
-- The order, in `fold_window`: take the shard's lock; read the window; delete the learners that are deleted in it; find
-- the learners whose facts move or are retracted; leave out what is retracted up to the window's end; fold the others
-- in the order of schema.py, and conclude; refold those that were found; move the checkpoint; mark milestones. The rows
-- and the checkpoint commit together.
--
-- The contract: the rows depend on the set of recorded events only. Any windows, in any number, and any repetition
-- after a crash give the rows that one ordered rebuild gives, and each model's rows equal its definition over the log.
-- tests/projections compare all of these with a program that reads the events one after the other.

-- functions --
-- Delete the facts that a refold computes again from the log. Conclusions stay, because the refold replaces them. A
-- model of learners without a block `reset_learners` or `delete_learners` has the block `delete rows`.
CREATE FUNCTION reset_learners(learners text[]) RETURNS void LANGUAGE plpgsql AS $reset$
BEGIN
{reset_learners}
END
$reset$;

-- Delete every row of the learners.
CREATE FUNCTION delete_learners(learners text[]) RETURNS void LANGUAGE plpgsql AS $delete$
BEGIN
PERFORM reset_learners(learners);
{delete_learners}
END
$delete$;

-- Delete the rows that the batch job writes.
CREATE FUNCTION delete_batch_rows(learners text[]) RETURNS void LANGUAGE plpgsql AS $delete$
BEGIN
{delete_batch_rows}
END
$delete$;

-- Empty the window's tables, because an earlier call in the same transaction may have filled them.
CREATE FUNCTION empty_window() RETURNS void LANGUAGE plpgsql AS $empty$
BEGIN
{empty_window}
END
$empty$;

-- Return, in order of time, the periods from first_at to last_at in which the learner's zone, offset and day_start are
-- constant. Each period has its start, the shift from UTC to the local day (the zone's offset less day_start), and the
-- zone's offset alone.
CREATE FUNCTION zone_shifts(learner text, first_at timestamptz, last_at timestamptz)
RETURNS TABLE (starts timestamptz[], shifts interval[], offsets interval[]) LANGUAGE sql STABLE AS $shifts$
    SELECT array_agg(greatest(z.starts_at, r.starts_at) ORDER BY z.starts_at, r.starts_at),
        array_agg(r.utc_offset - z.day_start ORDER BY z.starts_at, r.starts_at),
        array_agg(r.utc_offset ORDER BY z.starts_at, r.starts_at)
    FROM (
        SELECT z.*
        FROM zones_in_force z
        WHERE z.user_id = learner AND z.starts_at <= last_at AND z.starts_at >= (
            SELECT f.starts_at
            FROM zones_in_force f
            WHERE f.user_id = learner AND f.starts_at <= first_at
            ORDER BY f.starts_at DESC
            LIMIT 1)
        OFFSET 0
    ) z
    CROSS JOIN LATERAL (
        SELECT r.*
        FROM zone_rules r
        WHERE r.zone = z.timezone AND r.starts_at <= least(last_at, z.ends_at) AND r.starts_at >= (
            SELECT f.starts_at
            FROM zone_rules f
            WHERE f.zone = z.timezone AND f.starts_at <= greatest(first_at, z.starts_at)
            ORDER BY f.starts_at DESC
            LIMIT 1)
        OFFSET 0
    ) r
$shifts$;

-- Fold the events in window_events and, with has_catalogue, the window's catalogue events; then replace the conclusions
-- of the learners whose facts changed. Without has_past, the learners have no facts yet, so the folds do not look rows
-- up, and the tables may lack their keys; all of their conclusions may change. Return when the first model's fold began
-- and when each model's fold ended, in seconds.
CREATE FUNCTION fold_facts(
    window_shard smallint, window_start bigint, window_end bigint, has_past boolean, has_catalogue boolean
) RETURNS double precision[] LANGUAGE plpgsql AS $fold$
DECLARE
    times      double precision[] := ARRAY[date_part('epoch', clock_timestamp())];
    window_kinds text[] := ARRAY(   -- of the events; 'retracted' if an answer is to be subtracted
        SELECT DISTINCT CASE WHEN change < 0 THEN 'retracted' ELSE kind END FROM window_events);
    added_rows bigint;   -- of a conclusion; nobody reads it, but PL/pgSQL needs a place for it
BEGIN
{realtime_folds}

    RETURN times;
END
$fold$;

-- Delete the learners of these UserDeleted events.
CREATE FUNCTION fold_deletions(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $fold$
DECLARE
    learners text[];
BEGIN
    WITH gone AS (
        INSERT INTO deleted_learners
        SELECT DISTINCT user_id, pg_current_xact_id()::text::bigint
        FROM deletion_facts
        WHERE global_position = ANY (positions)
        ON CONFLICT DO NOTHING
        RETURNING user_id
    )
    SELECT array_agg(user_id) INTO learners FROM gone;
    IF learners IS NOT NULL THEN
        PERFORM delete_learners(learners);
        -- The batch job may be about to commit rows of these learners, so wait for the job, then delete these rows,
        -- too.
        PERFORM pg_advisory_xact_lock(hashtext('reading ' || current_schema()), s.shard)
        FROM (SELECT DISTINCT shard FROM deletion_facts WHERE global_position = ANY (positions)) s;
        PERFORM delete_batch_rows(learners);
    END IF;
END
$fold$;

-- Fold these events about lists. The latest event decides, so that the order and a repetition do not matter.
CREATE FUNCTION fold_all_lists(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $fold$
BEGIN
    PERFORM fold_lists(positions), fold_listed_items(positions), fold_list_assignments(positions),
        fold_own_lists(positions), fold_own_listed_items(positions), fold_own_words(positions);
END
$fold$;

-- Record these preference events and compute their learners' zones, once per learner. Return the learners whose folded
-- facts move to other zones; the caller must refold these learners.
CREATE FUNCTION fold_preferences(positions bigint[]) RETURNS text[] LANGUAGE plpgsql AS $fold$
DECLARE
    learners text[];
    moved    text[];
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT user_id, occurred_at, event_id, timezone, day_start
        FROM preference_facts
        WHERE global_position = ANY (positions)
    ), recorded AS (
        INSERT INTO preferences SELECT * FROM arrived ON CONFLICT DO NOTHING
    )
    SELECT array_agg(DISTINCT user_id) INTO learners FROM arrived;

    -- All CTEs see the former zones. Only differences are written, because a learner may have thousands of zones.
    WITH had AS (
        SELECT *, true AS has_row FROM zones_in_force WHERE user_id = ANY (learners)
        UNION ALL
        SELECT l, '-infinity', 'infinity', 'UTC', '0', false
        FROM unnest(learners) l
        WHERE NOT EXISTS (SELECT FROM zones_in_force z WHERE z.user_id = l)
    ), now AS (
        SELECT * FROM governing_zones WHERE user_id = ANY (learners)
    ), differing AS MATERIALIZED (
        SELECT user_id, starts_at, now.ends_at, now.timezone, now.day_start,
            (had.timezone, had.day_start) IS DISTINCT FROM (now.timezone, now.day_start) AS is_another
        FROM had
        FULL JOIN now USING (user_id, starts_at)
        WHERE (had.has_row, had.ends_at, had.timezone, had.day_start)
            IS DISTINCT FROM (true, now.ends_at, now.timezone, now.day_start)
    ), gone AS (
        DELETE FROM zones_in_force z
        USING differing d
        WHERE z.user_id = d.user_id AND z.starts_at = d.starts_at AND d.timezone IS NULL
    ), kept AS (
        INSERT INTO zones_in_force
        SELECT user_id, starts_at, ends_at, timezone, day_start
        FROM differing
        WHERE timezone IS NOT NULL
        ON CONFLICT (user_id, starts_at) DO UPDATE SET
            ends_at   = excluded.ends_at,
            timezone  = excluded.timezone,
            day_start = excluded.day_start
    )
    SELECT array_agg(d.user_id) INTO moved
    FROM (SELECT user_id, min(starts_at) AS starts_at FROM differing WHERE is_another GROUP BY user_id) d
    WHERE EXISTS (
            SELECT
            FROM item_stats s
            WHERE s.user_id = d.user_id AND greatest(s.last_answered_at, s.reviewed_at) >= d.starts_at
            OFFSET 0)
       OR EXISTS (SELECT FROM completions c WHERE c.user_id = d.user_id AND c.occurred_at >= d.starts_at OFFSET 0)
       OR EXISTS (SELECT FROM goals g WHERE g.user_id = d.user_id AND g.occurred_at >= d.starts_at OFFSET 0);
    RETURN moved;
END
$fold$;

-- Delete from the window the new events that are retracted up to the window's end. The events of a learner without a
-- retraction are not looked up. OFFSET 0: look each learner up once, and not once per event.
CREATE FUNCTION drop_retracted_events(window_end bigint) RETURNS void LANGUAGE plpgsql AS $drop$
BEGIN
    IF NOT EXISTS (SELECT FROM event_store.events e WHERE e.event_type IN ({retraction_types})) THEN
        RETURN;
    END IF;
    DELETE FROM window_events
    WHERE ctid = ANY (ARRAY(
        SELECT w.ctid
        FROM (
            SELECT u.user_id
            FROM (SELECT DISTINCT user_id FROM window_events WHERE kind IN ({retracted_kinds})) u
            CROSS JOIN LATERAL (SELECT FROM retractions r WHERE r.stream_id = 'learner-' || u.user_id LIMIT 1) r
            OFFSET 0
        ) u
        JOIN window_events w ON w.user_id = u.user_id AND w.kind IN ({retracted_kinds}) AND w.change > 0
        CROSS JOIN LATERAL (
            SELECT
            FROM retractions r
            WHERE r.stream_id = 'learner-' || w.user_id AND r.retracted_id = w.event_id
              AND r.global_position <= window_end
            LIMIT 1
        ) r));
END
$drop$;

-- Find the folded events that the window's retractions take out. Add answers to the window, to be subtracted. Return
-- the learners of the other events, who must be folded again.
CREATE FUNCTION fold_retractions(window_start bigint) RETURNS text[] LANGUAGE plpgsql AS $fold$
DECLARE
    learners text[];
BEGIN
    WITH retracted AS MATERIALIZED (
        SELECT DISTINCT w.user_id, f.global_position, f.kind
        FROM (SELECT user_id, global_position FROM window_events WHERE kind = 'retraction') w
        CROSS JOIN LATERAL (
            SELECT e.stream_id, event_store.event_uuid(e.event_data ->> 'retracted_event_id') AS retracted_id
            FROM event_store.events e
            WHERE e.global_position = w.global_position
            OFFSET 0
        ) r
        CROSS JOIN LATERAL (
            SELECT f.kind, f.stream_id, f.global_position FROM facts f WHERE f.event_id = r.retracted_id OFFSET 0
        ) f
        WHERE f.stream_id = r.stream_id AND f.kind IN ({retracted_kinds}) AND f.global_position <= window_start
          AND NOT EXISTS (
              SELECT
              FROM retractions o
              WHERE o.stream_id = r.stream_id AND o.retracted_id = r.retracted_id
                AND o.global_position <= window_start
              OFFSET 0)
          AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = w.user_id OFFSET 0)
    ), subtracted AS (
        INSERT INTO window_events ({read_models/facts columns}, change)
        SELECT {read_models/facts columns}, -1
        FROM (SELECT global_position AS place FROM retracted WHERE kind = 'answer') r
        CROSS JOIN LATERAL (SELECT * FROM facts f WHERE f.global_position = r.place OFFSET 0) f
    )
    SELECT array_agg(user_id) INTO learners FROM (SELECT DISTINCT user_id FROM retracted WHERE kind <> 'answer') r;
    RETURN learners;
END
$fold$;

-- Delete the learners' facts and fold their whole history again, up to the end of the window. Leave out the preference
-- events before the window, because zones_in_force already has their effect. The memberships are deleted after the
-- facts, because the sums of groups are reduced by the facts of their members.
CREATE FUNCTION refold_learners(learners text[], window_shard smallint, window_start bigint, window_end bigint)
RETURNS void LANGUAGE plpgsql AS $fold$
BEGIN
    PERFORM reset_learners(learners);
    DELETE FROM group_members WHERE user_id = ANY (learners);
    PERFORM empty_window();
    INSERT INTO window_refolded SELECT unnest(learners);
    INSERT INTO window_events ({read_models/facts columns})
    SELECT {read_models/facts columns}
    FROM unnest(learners) l
    CROSS JOIN LATERAL (
        SELECT *
        FROM facts
        WHERE stream_id = 'learner-' || l AND global_position <= window_end
          AND (kind <> 'preference' OR global_position > window_start)
        OFFSET 0
    ) f;
    PERFORM drop_retracted_events(window_end);
    PERFORM fold_facts(window_shard, window_start, window_end, false, false);
END
$fold$;

-- Return the number of events after which the window must be split, so that its first part refolds at most 200,000
-- events. Return 0 if the window need not be split. The limit does not include the longest history that the window
-- refolds. Otherwise, a learner with more than 200,000 events and many such events would cause many splits, and
-- each part of the window would refold this history.
CREATE FUNCTION count_events_before_refolds() RETURNS int LANGUAGE plpgsql AS $before$
BEGIN
    RETURN (
        SELECT count(*)
        FROM window_events
        WHERE global_position < (
            SELECT min(first_at)
            FROM (
                SELECT f.first_at, sum(e.stream_version) OVER earlier - max(e.stream_version) OVER earlier AS others
                FROM (
                    SELECT min(global_position) AS first_at
                    FROM window_events
                    WHERE kind IN ('preference', 'retraction')
                    GROUP BY user_id
                ) f
                JOIN event_store.events e ON e.global_position = f.first_at
                WINDOW earlier AS (ORDER BY f.first_at)
            ) histories
            WHERE others > 200000));
END
$before$;

-- Mark the recent milestones of these learners that have no mark yet, so that they are told: published, and sent to
-- subscribers. A milestone is recent if the learner's local day is now at most two days after `reached_on`. The marks
-- commit with the milestones. Call this last, because it keeps the lock that lets the numbers of the marks ascend in
-- the order of the commits.
--
-- A schema that is being built marks nothing until its swap, which marks for all learners (`learners` is null): the
-- former schema may not have folded the last events. The first build of a definition first marks what was reached by
-- events that were recorded before it began, and this is not told.
CREATE FUNCTION mark_milestones(learners text[]) RETURNS void LANGUAGE plpgsql AS $mark$
DECLARE
    at        timestamptz := clock_timestamp();
    should_tell boolean := learners IS NOT NULL OR EXISTS (
        SELECT FROM event_store.milestone_definitions d WHERE d.definition = {read_models/milestones name});
    kinds     text[] := '{STREAK,ITEMS_LEARNED,ITEMS_MASTERED,GOAL_MET,LEVEL_REACHED}';
    of_shards smallint[] := CASE WHEN learners IS NULL THEN ARRAY(SELECT s FROM generate_series(0, 15) s)
        ELSE ARRAY(SELECT DISTINCT event_store.shard_of('learner-' || l) FROM unnest(learners) l ORDER BY 1) END;
BEGIN
    IF cardinality(learners) = 0 OR learners IS NOT NULL AND current_schema() LIKE '%\_building' THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('event_store.milestone_marks'), s) FROM unnest(of_shards) s;

    INSERT INTO event_store.milestone_marks (shard, user_id, kind, value, level, reached_on, is_told)
    SELECT s.shard, m.user_id, m.kind, m.value, m.level, m.reached_on, should_tell
    FROM (
        SELECT m.*
        FROM unnest(learners) l
        CROSS JOIN unnest(kinds) k
        CROSS JOIN LATERAL (
            SELECT m.*
            FROM milestones m
            WHERE m.user_id = l AND m.kind = k AND m.reached_on >= at::date - 4  -- no local day is as far behind
            OFFSET 0
        ) m
        UNION ALL
        SELECT m.* FROM milestones m WHERE learners IS NULL AND m.reached_on >= at::date - 4
    ) m
    CROSS JOIN LATERAL (SELECT event_store.shard_of('learner-' || m.user_id) AS shard) s
    LEFT JOIN LATERAL (
        SELECT g.shift FROM segments g WHERE g.user_id = m.user_id AND g.starts_at <= at AND g.ends_at > at OFFSET 0
    ) g ON true
    WHERE NOT should_tell OR m.reached_on >= (at + coalesce(g.shift, INTERVAL '0 hours'))::date - 2
    ORDER BY m.user_id, m.reached_on, array_position(kinds, m.kind), m.level, m.value
    ON CONFLICT DO NOTHING;
END
$mark$;

-- Fold the next window of at most `at_most` events. `folded` is the number of events folded, or null if another worker
-- holds the shard's lock. Also returns the age of the oldest event in ms, and the times of fold_facts. Nothing reads
-- `lists_learners`, which is part of the interface.
CREATE FUNCTION fold_window(
    window_shard smallint, at_most int, lists_learners boolean,
    OUT folded int, OUT oldest_ms double precision, OUT times double precision[]
) LANGUAGE plpgsql
    {projections/fold settings}
AS $fold$
DECLARE
    window_start  bigint;
    window_end    bigint;
    last_at       bigint;
    recorded_at   timestamptz;
    oldest_at     timestamptz;
    rare          bigint[];    -- positions of preferences, deletions and retractions, which may change the past
    listed        bigint[];    -- positions of events about lists
    has_catalogue boolean;
    events_before int;
    moved         text[];      -- learners to refold, because some of their folded facts move to other zones or vanish
BEGIN
    -- The lock is a separate statement, so that the next statements see everything that its last holder committed.
    IF NOT pg_try_advisory_xact_lock(hashtext(current_schema()), window_shard) THEN
        RETURN;
    END IF;
    PERFORM empty_window();
    SELECT position, fold_until INTO STRICT window_start, last_at FROM checkpoints WHERE shard = window_shard;

    INSERT INTO window_events ({read_models/facts columns})
    SELECT {read_models/facts columns}
    FROM facts
    WHERE (shard, global_position) > (window_shard, window_start)
      AND (shard, global_position) <= (window_shard, last_at)
    ORDER BY shard, global_position
    LIMIT at_most;

    SELECT max(global_position), count(*), max(created_at), min(created_at),
        array_agg(global_position) FILTER (WHERE kind IN ('preference', 'deletion', 'retraction')),
        array_agg(global_position) FILTER (WHERE kind IN ('list', 'own_list', 'assignment')),
        coalesce(bool_or(kind = 'catalogue'), false)
    INTO window_end, folded, recorded_at, oldest_at, rare, listed, has_catalogue
    FROM window_events;
    IF folded = 0 THEN
        PERFORM check_checkpoint(window_start);
        RETURN;
    END IF;

    IF rare IS NOT NULL THEN
        events_before := count_events_before_refolds();
        IF window_start > 0 AND events_before > 0 THEN
            SELECT w.*
            INTO folded, oldest_ms, times
            FROM fold_window(window_shard, events_before, lists_learners) w;
            RETURN;
        END IF;
        PERFORM fold_deletions(rare);
        moved := fold_preferences(rare);
        SELECT array_agg(DISTINCT l) INTO moved FROM unnest(moved || fold_retractions(window_start)) l;
        PERFORM fold_display_names(rare);
        DELETE FROM window_events WHERE user_id = ANY (moved);
    END IF;
    IF listed IS NOT NULL THEN
        PERFORM fold_all_lists(listed);
    END IF;
    PERFORM drop_retracted_events(window_end);
    times := fold_facts(window_shard, window_start, window_end, window_start > 0, has_catalogue);
    IF moved IS NOT NULL THEN
        PERFORM refold_learners(moved, window_shard, window_start, window_end);
    END IF;

    UPDATE checkpoints
    SET position = window_end, updated_at = recorded_at,
        catalogue_version = CASE WHEN has_catalogue THEN pg_current_xact_id()::text::bigint ELSE catalogue_version END
    WHERE shard = window_shard;
    PERFORM mark_milestones(ARRAY(SELECT DISTINCT r.user_id FROM window_reached r));
    oldest_ms := 1000 * date_part('epoch', clock_timestamp() - oldest_at);
END
$fold$;

-- Fold an event that is no longer poisoned. The next batch run starts again from this event. The caller must lock the
-- shard before its transaction writes anything, so that versions only grow.
CREATE FUNCTION refold_event(at bigint) RETURNS void LANGUAGE plpgsql
    SET enable_seqscan = off
    SET random_page_cost = 0
    SET jit = off
AS $fold$
DECLARE
    window_shard smallint;
    stream       text;
    reached      bigint;
BEGIN
    SELECT e.shard, e.stream_id INTO STRICT window_shard, stream
    FROM event_store.events e
    WHERE e.global_position = at;
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), window_shard);
    PERFORM empty_window();
    SELECT position INTO STRICT reached FROM checkpoints WHERE shard = window_shard;
    IF at > reached THEN
        RETURN;
    END IF;
    IF stream LIKE 'learner-%' THEN
        PERFORM fold_deletions(ARRAY[at]);
        PERFORM fold_preferences(ARRAY[at]);
        PERFORM fold_display_names(ARRAY[at]);
        PERFORM refold_learners(ARRAY[substr(stream, 9)], window_shard, 0, reached);
    ELSE
        PERFORM fold_facts(window_shard, at - 1, at, true, true);
        UPDATE checkpoints SET catalogue_version = pg_current_xact_id()::text::bigint WHERE shard = window_shard;
    END IF;
    PERFORM fold_all_lists(ARRAY(
        SELECT f.global_position FROM facts f
        WHERE f.global_position = at AND f.kind IN ('list', 'own_list', 'assignment')));
    UPDATE batch_checkpoints
    SET position = least(position, at - 1), catalogue_position = least(catalogue_position, at - 1);
    PERFORM mark_milestones(ARRAY(SELECT DISTINCT r.user_id FROM window_reached r));
END
$fold$;

-- Raise PR101 if the checkpoint is past the end of the log. This happens after the log was restored from an old backup.
CREATE FUNCTION check_checkpoint(at bigint) RETURNS void LANGUAGE plpgsql AS $check$
DECLARE
    head bigint := (SELECT coalesce(max(e.global_position), 0) FROM event_store.events e);
BEGIN
    IF at > head THEN
        RAISE EXCEPTION 'the checkpoint is at %, the log ends at %', at, head USING ERRCODE = 'PR101';
    END IF;
END
$check$;

-- settings --
-- Plans are cached, so a plan that is made on empty tables must also suit full tables.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET random_page_cost = 0   -- a fold reads the end of the log, which is in memory, through the index by shard
SET jit = off

-- conclude --
-- Replace rows of a conclusion by those of its definition, for the learners whose input the window changes in a way
-- that can matter (`changed`). Rows that stay the same are not written. `replaced` selects the rows t of a learner that
-- may differ; without it, all of them may. `read` hides relations that the definition reads by the parts that suffice
-- for these rows. OFFSET 0 lets the planner restrict the definition to the learner, instead of joining all learners'
-- rows.
IF EXISTS ({changed}) THEN
WITH changed AS MATERIALIZED (
{changed}
), differing AS MATERIALIZED (
    SELECT one, max(place) AS place
    FROM (
        SELECT CAST(ROW(d.*) AS {table}) AS one, CAST(NULL AS tid) AS place
        FROM changed c
        CROSS JOIN LATERAL (
            {read}
            SELECT * FROM (
{definition}
            ) d
            WHERE d.user_id = c.user_id
            OFFSET 0
        ) d
        UNION ALL
        SELECT t.one, t.place
        FROM changed c
        CROSS JOIN LATERAL (
            SELECT t AS one, t.ctid AS place FROM {table} t WHERE t.user_id = c.user_id AND {replaced} OFFSET 0
        ) t
    ) rows
    GROUP BY one
    HAVING count(*) = 1
), gone AS (
    DELETE FROM {table}
    WHERE ctid = ANY (ARRAY(SELECT place FROM differing WHERE place IS NOT NULL))
    RETURNING user_id
), added AS (
    INSERT INTO {table}
    SELECT (d.one).*
    FROM differing d
    CROSS JOIN (SELECT count(*) FROM gone) g   -- delete first, because a new row may have the key of a former one
    WHERE d.place IS NULL
    RETURNING user_id
)
{tell};
END IF;

-- delete rows --
DELETE FROM {table} WHERE user_id = ANY (learners);

-- snapshot --
(SELECT array_agg(t)::text FROM {table} t WHERE t.user_id = learner)

-- tell --
SELECT count(*) INTO added_rows FROM added

-- end of model --
times := times || date_part('epoch', clock_timestamp());
