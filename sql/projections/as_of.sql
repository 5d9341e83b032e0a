-- As-of queries. They run the realtime folds in temporary tables, over one learner's events up to a time.
-- The search path is pg_temp, then the live schema. The `as_of` blocks of the models create a temporary table for each
-- table that a fold writes or a query reads. The temporary tables are emptied when the transaction ends.

-- as_of --
-- This table has one row. The rows of the other tables are folded from the events that occurred at or before
-- `happened_by` and were recorded at or before `recorded_by`.
CREATE TEMPORARY TABLE moment_asked (
    happened_by timestamptz NOT NULL, recorded_by timestamptz NOT NULL,
    is_whole    boolean     NOT NULL   -- the tables hold every row that a later window may look up
) ON COMMIT DELETE ROWS;

-- functions --
-- Fill window_facts with the learner's events after `version` that occurred at or before happened_by and were recorded
-- at or before recorded_by. Leave out the events that occurred at or before happened_before and were recorded at or
-- before recorded_before. window_events stays empty, so that fold_facts copies no events from it.
CREATE FUNCTION fill_window_as_of(
    learner text, version bigint, happened_by timestamptz, recorded_by timestamptz,
    happened_before timestamptz, recorded_before timestamptz
) RETURNS void LANGUAGE plpgsql AS $fill$
DECLARE
    starts  timestamptz[];
    shifts  interval[];
    offsets interval[];
BEGIN
    SELECT z.starts, z.shifts, z.offsets INTO starts, shifts, offsets
    FROM zone_shifts(learner, '-infinity', 'infinity') z;
    INSERT INTO window_facts
    SELECT {read_models/facts columns},
        {read_models/facts local_time}
    FROM facts
    WHERE stream_id = 'learner-' || learner AND stream_version > version
      AND occurred_at <= happened_by AND created_at <= recorded_by
      AND NOT (occurred_at <= happened_before AND created_at <= recorded_before)
      AND kind NOT IN ('deletion', 'catalogue');
END
$fill$;

-- Fold into the temporary tables those events of the learner that occurred at or before happened_by and were
-- recorded at or before recorded_by. Fold nothing if the learner is deleted, at whatever time the deletion occurred or
-- was recorded. Return true if the tables have grown large. Raise PR001 if the stream has more events since the
-- snapshot than a query may fold. With is_last, do not write the rows that only fold_on_as_of looks up.
CREATE FUNCTION fold_as_of(learner text, happened_by timestamptz, recorded_by timestamptz, is_last boolean)
RETURNS boolean LANGUAGE plpgsql
    {projections/fold settings}
AS $fold$
DECLARE
    stream  text := 'learner-' || learner;
    version bigint;     -- the version of the snapshot to start from; 0: no snapshot
    most    CONSTANT bigint := 210000;  -- the number of events that a query may fold
    newest  bigint := (SELECT max(e.stream_version) FROM event_store.events e WHERE e.stream_id = stream);
    state   record;
BEGIN
    IF (SELECT c.relpersistence <> 't' FROM pg_class c WHERE c.oid = 'user_progress'::regclass) THEN
        RAISE EXCEPTION 'the connection has no temporary tables for as-of queries';
    END IF;
    INSERT INTO moment_asked VALUES (happened_by, recorded_by, false);
    IF EXISTS (
        SELECT FROM event_store.events e
        WHERE e.stream_id = stream AND e.event_type IN ({deletion_types})
          AND e.global_position <> ALL (ARRAY(SELECT p.global_position FROM event_store.poisoned p))
    ) THEN
        RETURN false;
    END IF;

    FOR version IN
        SELECT v FROM (SELECT snapshots_until(stream, happened_by, recorded_by) UNION ALL SELECT 0) AS versions (v)
        ORDER BY v DESC
    LOOP
        IF newest - version > most THEN
            RAISE EXCEPTION 'asOf, knownAt: expected at most % events since a snapshot of the learner - found %: %',
                most, newest - version, 'ask about a later time, or leave both out' USING ERRCODE = 'PR001';
        END IF;
        SELECT s.* INTO state
        FROM event_store.snapshots x
        CROSS JOIN LATERAL jsonb_to_record(x.state) AS s ({snapshot_columns})
        WHERE x.stream_id = stream AND x.stream_version = version AND x.fingerprint = snapshot_fingerprint();
        CONTINUE WHEN NOT FOUND AND version > 0;   -- a rebuild or the batch job dropped the snapshot meanwhile

        INSERT INTO preferences SELECT * FROM unnest((state.preferences #>> '{}')::preferences[]);
        INSERT INTO zones_in_force SELECT * FROM governing_zones;
        INSERT INTO user_progress SELECT * FROM unnest((state.user_progress #>> '{}')::user_progress[]);

        -- If a later preference event moves days of this snapshot, try an older snapshot or none.
        EXIT WHEN fold_preferences(ARRAY(
            SELECT e.global_position
            FROM event_store.events e
            WHERE e.stream_id = stream AND e.stream_version > version
              AND e.event_type IN ({preference_types})
              AND e.occurred_at <= fold_as_of.happened_by AND e.created_at <= recorded_by
        )) IS NULL OR version = 0;
        DELETE FROM preferences;
        DELETE FROM zones_in_force;
        DELETE FROM user_progress;
    END LOOP;

    PERFORM fill_window_as_of(learner, version, happened_by, recorded_by, '-infinity', '-infinity');
    IF version > 0 THEN
{restore}
    END IF;
    PERFORM fold_facts(0::smallint, 0, 0, version > 0, false, version = 0 AND NOT is_last);
    UPDATE moment_asked SET is_whole = version = 0 AND NOT is_last;
    RETURN 2000000
        < pg_relation_size('window_facts') + pg_relation_size('item_stats') + pg_relation_size('daily_stats');
END
$fold$;

-- Continue the fold that fold_as_of began: fold the learner's events between the times in moment_asked and the given
-- later times. Return null if the rows could differ from those of a fold from the start. This is possible if the tables
-- lack rows of the past, if a new time is earlier than the former time, or if a preference event between the times may
-- move days.
CREATE FUNCTION fold_on_as_of(learner text, happened_by timestamptz, recorded_by timestamptz, is_last boolean)
RETURNS boolean LANGUAGE plpgsql
    {projections/fold settings}
AS $fold$
DECLARE
    held record;
BEGIN
    SELECT m.* INTO STRICT held FROM moment_asked m;
    IF NOT held.is_whole OR held.happened_by > happened_by OR held.recorded_by > recorded_by THEN
        RETURN NULL;
    END IF;
    TRUNCATE window_facts;   -- after a DELETE, every fold would read the dead rows of this large table
    PERFORM empty_window();
    PERFORM fill_window_as_of(learner, 0, happened_by, recorded_by, held.happened_by, held.recorded_by);
    IF EXISTS (SELECT FROM window_facts WHERE kind = 'preference') THEN
        RETURN NULL;
    END IF;
    PERFORM fold_facts(0::smallint, 0, 0, true, false, NOT is_last);
    UPDATE moment_asked m SET happened_by = fold_on_as_of.happened_by, recorded_by = fold_on_as_of.recorded_by;
    RETURN true;
END
$fold$;

-- set_timeout --
-- Limit the time of each statement of the transaction.
SELECT set_config('statement_timeout', :milliseconds, true);

-- fold_as_of --
SELECT fold_as_of(:user_id,
    coalesce(CAST(:as_of AS timestamptz), 'infinity'), coalesce(CAST(:known_at AS timestamptz), 'infinity'), :is_last);

-- fold_on_as_of --
SELECT fold_on_as_of(:user_id,
    coalesce(CAST(:as_of AS timestamptz), 'infinity'), coalesce(CAST(:known_at AS timestamptz), 'infinity'), :is_last);
