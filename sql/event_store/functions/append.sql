-- Append a batch: {"messages": [{topic, subscription, message_id, published_at}], "events": [incoming_event],
-- "letters": [...]}. Instead of "messages", append_events passes "stream_id" and optionally "expected_version". Return
-- the number of events per outcome, the shards to wake and, with "stream_id", the new version of that stream.
--
-- One append runs at a time, so that positions have no gaps and become visible in ascending order. A batch of several
-- events takes the optimistic path, record_batch. If record_batch cannot decide the outcome of an event, it writes
-- nothing, and record_row_by_row records the whole batch.
CREATE OR REPLACE FUNCTION event_store.append(
    batch jsonb, OUT outcomes jsonb, OUT shards smallint[], OUT stream_version bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
-- A query plan is kept until the connection ends. Even a plan that is made while the tables are empty must therefore
-- use the indexes.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
DECLARE
    events           jsonb := batch -> 'events';
    letters          jsonb := batch -> 'letters';
    messages         jsonb := batch -> 'messages';
    erased_letters   integer := 0;
    erased           integer := 0;
    needs_row_by_row boolean := true;
    e                event_store.incoming_event;
    result           event_store.append_result;
BEGIN
    -- Judging a large dead letter takes seconds. Do this before the lock of the append, under a lock that keeps further
    -- learners from being erased meanwhile.
    IF jsonb_array_length(letters) > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
        IF EXISTS (SELECT FROM event_store.erased) THEN
            SELECT d.letters, d.erased INTO letters, erased_letters FROM event_store.drop_erased_letters(letters) d;
        END IF;
    END IF;

    -- Take the lock before any statement that reads, so that each statement's snapshot contains all earlier appends.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('event_store.append', 0)) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    END IF;

    erased := erased_letters;
    IF EXISTS (SELECT FROM event_store.erased) THEN
        SELECT d.events, erased_letters + d.erased INTO events, erased FROM event_store.drop_erased(events) d;
    END IF;

    IF batch ? 'expected_version' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
        IF append.stream_version <> (batch ->> 'expected_version')::bigint THEN
            RAISE EXCEPTION 'expected the stream at version %, found it at %',
                batch ->> 'expected_version', append.stream_version USING ERRCODE = 'PR001';
        END IF;
    END IF;

    IF jsonb_array_length(events) = 1 THEN
        e := jsonb_populate_record(NULL::event_store.incoming_event, events -> 0);
        result := event_store.record_event(e, messages -> coalesce(e.message, 0));
        outcomes := jsonb_build_object(result.outcome, 1);
        shards := result.shards;
    ELSE
        IF jsonb_array_length(events) > 1 THEN
            SELECT b.needs_row_by_row, b.outcomes, b.shards INTO needs_row_by_row, outcomes, shards
            FROM event_store.record_batch(events) b;
        END IF;
        IF needs_row_by_row THEN
            SELECT r.outcomes, r.shards INTO outcomes, shards
            FROM event_store.record_row_by_row(events, messages) r;
        END IF;
    END IF;

    IF jsonb_array_length(letters) > 0 THEN
        SELECT event_store.add_outcomes(append.outcomes, l.outcomes), append.shards || l.shards INTO outcomes, shards
        FROM event_store.record_rejections(letters, messages) l;
    END IF;
    IF erased > 0 THEN
        outcomes := event_store.add_outcomes(outcomes, jsonb_build_object('erased', erased));
    END IF;
    IF batch ? 'stream_id' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.append FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.append TO progress_ingest, progress_batch, progress_project;
