-- What the read models of version 0.3.0 lack of the interface (sql/projections/interface.sql, version 2). `migrate`
-- applies this file to the schema that it is named after, so that the workers of later versions fold it. Its own
-- workers read more results of `fold_window`. It goes with version 0.5. The two prepare functions have the text of
-- version 0.3.0, as this prints it in a checkout of v0.3.0:
--     python -c 'from progress.projections import schema; print(schema._window_tables(), schema._batch_tables())'
-- They create the tables that the folds of 0.3.0 name, so that they keep their names.

CREATE FUNCTION prepare_window() RETURNS void LANGUAGE plpgsql AS $prepare$
BEGIN
    IF to_regclass('pg_temp.window_facts') IS NULL THEN
-- Each connection that folds has these tables; they are emptied at each commit.
CREATE TEMPORARY TABLE window_events (LIKE window_shape INCLUDING STORAGE INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;

-- The learners' events, as the folds read them. Each event has its local day, and each answer also has its hour on the
-- wall clock.
CREATE TEMPORARY TABLE window_facts (
    LIKE window_shape INCLUDING STORAGE INCLUDING DEFAULTS, day date, hour int
) ON COMMIT DELETE ROWS;

-- The learners of a refold. All of their conclusions may change, also if no fact is left from which they follow.
CREATE TEMPORARY TABLE window_refolded (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;

-- The new rows of the items in the window, with the former values that other folds compare.
CREATE TEMPORARY TABLE window_items (
    LIKE item_stats INCLUDING STORAGE,
    place tid,                             -- of the former row; null: the item is new
    had_answered_on date, had_correct_on date, had_mastered_on date, had_interval_days bigint,
    had_answers bigint, had_correct_answers bigint, had_response_ms bigint, had_lapses bigint,
    -- An item is out of order if one of its new events does not follow its latest stored event, if a new event follows
    -- a new review, or if an answer is retracted (see repeated_answers.sql). If an item is not out of order, the window
    -- changes only the gap after the item's latest stored review (see reviews.sql). If a new review ends this gap,
    -- closed_at, closed_id, closed_on and closed_recalled hold the gap's first answer. Otherwise, asked_at, asked_id,
    -- asked_on and recalled hold this answer.
    is_out_of_order boolean,
    closed_at timestamptz, closed_id uuid, closed_on date, closed_recalled boolean,
    is_test boolean,                       -- the gap's first answer is new, and is a test of retention
    has_repeats boolean,                   -- the gap has new answers after its first answer
    is_late boolean,                       -- a new answer does not follow the item's latest stored answer; or retracted
    first_at timestamptz, last_at timestamptz,   -- of the item's events in the window
    first_cut_at timestamptz               -- the first new review or retracted answer; later answers may become first
) ON COMMIT DELETE ROWS;

-- The rows that the window changes.
CREATE TEMPORARY TABLE window_members (
    group_id varchar(200) COLLATE "C", user_id varchar(200) COLLATE "C", decided_at timestamptz, decided_id uuid,
    is_member boolean
) ON COMMIT DELETE ROWS;

-- The groups in which the items of these learners count: a row for before the window, and a row for after the window.
CREATE TEMPORARY TABLE window_counted (
    group_id varchar(200) COLLATE "C", user_id varchar(200) COLLATE "C", is_after boolean
) ON COMMIT DELETE ROWS;

-- The chains of the items that are out of order (see item_stats.sql), before the window (change is -1) and after it
-- (1): rows of chained_facts (sql/projections/definitions.sql). A chain is a segment of its item's events: from the
-- last review before the window's first event about the item to the first review after its last one.
CREATE TEMPORARY TABLE window_chains (
    change int, user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C", kind varchar(10),
    occurred_at timestamptz, event_id uuid, day date, correct boolean, interval_days bigint,
    gap bigint, is_first boolean, days_before bigint, day_before date
) ON COMMIT DELETE ROWS;

-- The gaps of the chains after the window, with their first answers.
CREATE TEMPORARY TABLE window_gaps (
    user_id varchar(200) COLLATE "C", item_id varchar(200) COLLATE "C",
    reviewed_at timestamptz, review_id uuid,   -- the review at the end of the gap; null: no review follows
    asked_at timestamptz, asked_id uuid, asked_on date, recalled boolean
) ON COMMIT DELETE ROWS;

-- How much the window adds to the items_reviewed of each day; may be negative.
CREATE TEMPORARY TABLE window_reviewed (
    user_id varchar(200) COLLATE "C", day date, items_reviewed bigint
) ON COMMIT DELETE ROWS;

-- The window's changes to the sums of each day. A session can have several completions, and counts on the day of the
-- earliest. If a completion arrives that is earlier than the counted one, the session moves to the day of the earlier
-- one.
CREATE TEMPORARY TABLE window_completions (
    user_id varchar(200) COLLATE "C", day date, sessions_completed bigint, study_seconds bigint, scores bigint
) ON COMMIT DELETE ROWS;

-- The window's changes to the sums of each day. items_learned counts an item on the day of its first correct answer. If
-- an earlier correct answer arrives afterwards, the item moves to this answer's day: -1 on the old day, +1 on the new.
CREATE TEMPORARY TABLE window_days (LIKE daily_stats INCLUDING STORAGE) ON COMMIT DELETE ROWS;

-- The days that became rest days, and the days that stopped being rest days because the week has an earlier date now.
CREATE TEMPORARY TABLE window_rest_days (
    user_id varchar(200) COLLATE "C", day date, is_rest boolean
) ON COMMIT DELETE ROWS;

-- The learners to whom the transaction has added milestones. No window empties it, because a refold follows its window.
CREATE TEMPORARY TABLE window_reached (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;
    END IF;
END
$prepare$;

CREATE FUNCTION prepare_batch() RETURNS void LANGUAGE plpgsql AS $prepare$
BEGIN
    IF to_regclass('pg_temp.batch_learners') IS NULL THEN
CREATE TEMPORARY TABLE batch_items (item_id varchar(200) COLLATE "C" PRIMARY KEY) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_learners (
    user_id      varchar(200) COLLATE "C" PRIMARY KEY,
    changed_week date NOT NULL             -- Monday of the first week that may have changed; infinity: no week
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_answers (LIKE remembered_answers) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE batch_reached (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;
    END IF;
END
$prepare$;

CREATE FUNCTION find_waiting() RETURNS TABLE (shard smallint, next_position bigint, next_recorded_at timestamptz)
LANGUAGE sql STABLE AS $waiting$
SELECT shard, next_position, next_recorded_at FROM shards_behind
$waiting$;

CREATE FUNCTION is_batch_behind(shards smallint[], log_end bigint) RETURNS boolean LANGUAGE sql STABLE AS $behind$
SELECT EXISTS (
    SELECT
    FROM batch_checkpoints b
    CROSS JOIN LATERAL (
        SELECT
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (b.shard, b.position)
          AND (e.shard, e.global_position) <= (b.shard, log_end)
        ORDER BY e.shard, e.global_position
        LIMIT 1
    ) e
    WHERE b.shard = ANY (shards))
$behind$;

CREATE FUNCTION remove_deletion(learner text) RETURNS void LANGUAGE sql AS $remove$
DELETE FROM deleted_learners WHERE user_id = learner
$remove$;

-- Version 0.3 marks an event for all of its schemas, in event_store.poisoned.
CREATE FUNCTION poison_event(of_shard smallint, at bigint, error text) RETURNS boolean LANGUAGE plpgsql AS $mark$
BEGIN
    PERFORM event_store.quarantine(at, error)
    FROM shards_behind b
    WHERE b.shard = of_shard AND b.next_position = at;
    RETURN nullif(FOUND, false);
END
$mark$;

-- Whether version 0.3 folds the event, and then answers no query about the learner's items or days: it shows no
-- interval above 36,500 days, and no session or answer above a day.
CREATE FUNCTION is_beyond(e event_store.events) RETURNS boolean LANGUAGE sql IMMUTABLE AS $beyond$
SELECT coalesce(
    e.event_type = 'ReviewProcessed' AND e.event_data -> 'new_interval' > '36500'
    OR e.event_type = 'SessionCompleted' AND e.event_data -> 'duration_seconds' > '86400'
    OR e.event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven')
        AND e.event_data -> 'response_time_ms' > '86400000', false)
$beyond$;

CREATE FUNCTION clear_mark(letter_id bigint) RETURNS bigint LANGUAGE plpgsql AS $clear$
BEGIN
    RETURN (
        SELECT event_store.release(l.letter_id)
        FROM event_store.dead_letters l
        JOIN event_store.events e ON l.message_id = 'position-' || e.global_position
        WHERE l.letter_id = clear_mark.letter_id AND l.kind = 'poisoned' AND NOT is_beyond(e));
END
$clear$;

-- Fold a window, and leave those events out.
ALTER FUNCTION fold_window(smallint, integer, boolean) RENAME TO fold_window_of_0_3;

CREATE FUNCTION fold_window(
    window_shard smallint, at_most integer, lists_learners boolean,
    OUT folded integer, OUT changed_version bigint, OUT changed_learners text, OUT changed_catalogue boolean,
    OUT oldest_ms double precision, OUT times double precision[], OUT window_end bigint, OUT recorded_s bigint
) LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET random_page_cost = 0
    SET jit = off
AS $fold$
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext(current_schema()), window_shard) THEN
        RETURN;
    END IF;
    PERFORM event_store.quarantine((next.e).global_position,
        'version 0.3 shows no interval above 36,500 days, and no session or answer above a day')
    FROM checkpoints c
    CROSS JOIN LATERAL (
        SELECT e
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (c.shard, c.position) AND (e.shard, e.global_position) < (c.shard + 1, 0)
        ORDER BY e.shard, e.global_position
        LIMIT at_most
    ) next
    WHERE c.shard = window_shard AND is_beyond(next.e);
    SELECT w.*
    INTO folded, changed_version, changed_learners, changed_catalogue, oldest_ms, times, window_end, recorded_s
    FROM fold_window_of_0_3(window_shard, at_most, lists_learners) w;
END
$fold$;
