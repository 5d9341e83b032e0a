-- The append: from one JSON parameter to events, pending events and dead letters.
--
-- Tables: `events` is the log. `sessions` has the learner of each session, by its first SessionStarted. `pending` has
-- the events whose session has no learner yet. `dead_letters` has what cannot be an event. `erased` has the digests of
-- erased learners, of whom nothing is recorded.
--
-- An event ends with one outcome: appended; redelivered (recorded before, with the same content); pending; erased; or
-- as a dead letter: conflict (the id has other content; of what a learner has posted, at most counted), future,
-- session_owner (the session is another learner's), or a reason that ingest found.
--
-- The order, under one lock for all appends: drop what is about erased learners, compare the expected version, record
-- the events, then the letters. Two paths record events, and both give the same rows and outcomes:
--   record_batch       several events in one statement; writes nothing if it cannot decide an event
--   record_row_by_row  one event after the other, with record_event
-- A batch is as if its events arrived one after the other in batch_order. A single event takes record_event, too.
-- tests/event_store/test_append.py compares both paths with one sequential program.
--
-- The functions stand in the order in which they call each other.

-- Earlier versions, which described the events of pushes, too.
DROP FUNCTION IF EXISTS event_store.record_batch(jsonb), event_store.record_row_by_row(jsonb, jsonb),
    event_store.record_rejections(jsonb, jsonb);

-- Append a batch: {"messages": [{topic, subscription, message_id, published_at, poster}], "events": [incoming_event],
-- "letters": [...]}. Instead of "messages", append_events passes "stream_id" and optionally "expected_version". Return
-- the number of events per outcome, the shards to wake and, with "stream_id", the new version of that stream.
--
-- With "is_reported", which only posts need, `outcomes` also has "others": an array [batch_order, outcome, reason] for
-- each event that was not appended, and for each letter that was not written because its event is recorded or its
-- learner erased.
--
-- One append runs at a time, so that positions have no gaps and become visible in ascending order. An append whose dead
-- letters exceed a bound (letter_bytes.sql) raises PR002 and records nothing; with "is_replay", nothing is bounded.
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
    erased           integer := 0;
    erased_letters   integer;
    is_reported      boolean := batch ? 'is_reported';
    others           jsonb;            -- only if is_reported; null: there are none
    needs_row_by_row boolean := true;
    e                event_store.incoming_event;
    result           event_store.append_result;
    recorded         record;
BEGIN
    IF (jsonb_array_length(letters) > 0 OR batch ? 'has_reserve') AND NOT batch ? 'is_replay' THEN
        PERFORM event_store.expect_space(letters, messages);
    END IF;

    -- Take the lock before any statement that reads, so that each statement's snapshot contains all earlier appends.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('event_store.append', 0)) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    END IF;

    IF EXISTS (SELECT FROM event_store.erased) THEN
        SELECT d.events, d.erased INTO events, erased FROM event_store.drop_erased(events) d;
        IF jsonb_array_length(letters) > 0 THEN
            SELECT d.letters, d.erased INTO letters, erased_letters FROM event_store.drop_erased_letters(letters) d;
            erased := erased + erased_letters;
        END IF;
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
            recorded := event_store.record_batch(events, is_reported);
            needs_row_by_row := recorded.needs_row_by_row;
            outcomes := recorded.outcomes;
            shards := recorded.shards;
            others := recorded.others;
        END IF;
        IF needs_row_by_row THEN
            SELECT r.outcomes, r.shards, r.others INTO outcomes, shards, others
            FROM event_store.record_row_by_row(events, messages, is_reported) r;
        END IF;
    END IF;

    IF jsonb_array_length(letters) > 0 THEN
        recorded := event_store.record_rejections(letters, messages, is_reported);
        outcomes := event_store.add_outcomes(outcomes, recorded.outcomes);
        shards := shards || recorded.shards;
        others := coalesce(others || recorded.others, others, recorded.others);
    END IF;
    IF outcomes ?| '{malformed,invalid,conflict,future,session_owner}' AND NOT batch ? 'is_replay' THEN
        PERFORM event_store.check_letter_bytes();
    END IF;
    IF erased > 0 THEN
        outcomes := event_store.add_outcomes(outcomes, jsonb_build_object('erased', erased));
    END IF;
    IF is_reported THEN
        others := coalesce(others, '[]');
        IF result.outcome <> 'appended' THEN       -- null unless there is a single event
            others := others || jsonb_build_array(event_store.describe_other(e.message, e.index, result.outcome));
        END IF;
        IF erased > 0 THEN
            others := others || (
                SELECT jsonb_agg(event_store.describe_other(b.message, b.index, 'erased'))
                FROM jsonb_to_recordset(batch -> 'events' || coalesce(batch -> 'letters', '[]'))
                    AS b (message integer, index integer)
                WHERE NOT EXISTS (
                    SELECT FROM jsonb_to_recordset(coalesce(events, '[]') || coalesce(letters, '[]'))
                        AS k (message integer, index integer)
                    WHERE coalesce(k.message, 0) = coalesce(b.message, 0) AND k.index = b.index));
        END IF;
        outcomes := coalesce(outcomes, '{}') || jsonb_build_object('others', others);
    END IF;
    IF batch ? 'stream_id' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
    END IF;
END $$;

-- Record one event. Each expression and each statement here slows the append of a single event by 1 to 5 %. So one
-- statement both checks and appends the event. record_special_case handles every event that this statement does not
-- append.
CREATE OR REPLACE FUNCTION event_store.record_event(e event_store.incoming_event, message jsonb)
RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
DECLARE
    owner  text;                 -- the session's learner
    stream text;
    head   record;
    shard  smallint;
BEGIN
    IF e.learner IS NULL OR e.event_type = 'SessionStarted' THEN
        SELECT s.user_id INTO owner FROM event_store.sessions s WHERE s.session_id = e.session_id;
        IF owner <> e.learner THEN
            RETURN event_store.record_special_case(e, owner, 'learner-' || e.learner, message);
        END IF;
    END IF;
    stream := coalesce('learner-' || coalesce(e.learner, owner), e.stream_id);
    SELECT h.global_position, h.created_at INTO head
    FROM event_store.events h ORDER BY h.global_position DESC LIMIT 1;
    INSERT INTO event_store.events AS appended
    SELECT coalesce(head.global_position, 0) + 1, e.event_id, stream,
        coalesce((SELECT s.stream_version FROM event_store.events s WHERE s.stream_id = stream
                  ORDER BY s.stream_version DESC LIMIT 1), 0) + 1,
        e.event_type, e.data, e.metadata, e.occurred_at, greatest(clock_timestamp(), head.created_at),
        event_store.shard_of(stream)
    WHERE stream IS NOT NULL
      AND e.occurred_at <= clock_timestamp() + interval '10 minutes'
      AND NOT EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    ON CONFLICT (event_id) DO NOTHING
    RETURNING appended.shard INTO shard;
    IF shard IS NULL THEN
        RETURN event_store.record_special_case(e, owner, stream, message);
    END IF;
    IF owner IS NULL AND e.event_type = 'SessionStarted' THEN
        INSERT INTO event_store.sessions VALUES (e.session_id, e.learner);
        PERFORM event_store.release_pending(stream, ARRAY(
            SELECT p.event_id FROM event_store.pending p WHERE p.session_id = e.session_id));
    END IF;
    RETURN ('appended', ARRAY[shard])::event_store.append_result;
END $$;

-- Record an event that record_event did not append: its id is already used, its time is in the future, its session
-- belongs to another learner, or its learner is not known yet. The first check that applies decides the outcome.
CREATE OR REPLACE FUNCTION event_store.record_special_case(
    e event_store.incoming_event, owner text, stream text, message jsonb
) RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM event_store.events s WHERE s.event_id = e.event_id)
       OR EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    THEN
        RETURN event_store.record_known_id(e, coalesce(e.learner, owner), stream, message);
    END IF;
    IF e.occurred_at > clock_timestamp() + interval '10 minutes' THEN
        PERFORM event_store.write_dead_letter(message, e, 'future',
            event_store.reason_of('future'), e.occurred_at - interval '10 minutes');
        RETURN ('future', '{}')::event_store.append_result;
    END IF;
    IF stream IS NOT NULL THEN
        PERFORM event_store.write_dead_letter(message, e, 'session_owner', event_store.reason_of('session_owner'));
        RETURN ('session_owner', '{}')::event_store.append_result;
    END IF;
    INSERT INTO event_store.pending
        (event_id, session_id, event_type, event_data, metadata, occurred_at)
    VALUES (e.event_id, e.session_id, e.event_type, e.data, e.metadata, e.occurred_at);
    RETURN ('pending', '{}')::event_store.append_result;
END $$;

-- Record an event whose id is already used: a redelivery, a pending event whose learner is known now, or a conflict.
CREATE OR REPLACE FUNCTION event_store.record_known_id(
    e event_store.incoming_event, learner_id text, stream text, message jsonb
) RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
DECLARE
    stored  event_store.events;
    waiting event_store.pending;
    shards  smallint[];          -- the shard of the stored event; empty while the event is pending
BEGIN
    SELECT * INTO stored FROM event_store.events s WHERE s.event_id = e.event_id;
    shards := array_remove(ARRAY[stored.shard], NULL);
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
       AND event_store.same_learner(stored.stream_id, stream)
    THEN
        RETURN ('redelivered', shards)::event_store.append_result;
    END IF;
    SELECT * INTO waiting FROM event_store.pending p WHERE p.event_id = e.event_id;
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           waiting.event_type, waiting.event_data, waiting.occurred_at, waiting.metadata)
    THEN
        IF learner_id IS NULL THEN
            RETURN ('redelivered', shards)::event_store.append_result;
        END IF;
        PERFORM event_store.release_pending(stream, ARRAY[waiting.event_id]);
        RETURN ('appended', ARRAY[event_store.shard_of(stream)])::event_store.append_result;
    END IF;
    PERFORM event_store.write_dead_letter(message, e, 'conflict', event_store.reason_of('conflict'));
    RETURN ('conflict', shards)::event_store.append_result;
END $$;

-- Append pending events to the stream of their learner, in the order of their arrival.
CREATE OR REPLACE FUNCTION event_store.release_pending(stream text, ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH removed AS (
        DELETE FROM event_store.pending p WHERE p.event_id = ANY (ids) RETURNING p.*
    )
    INSERT INTO event_store.events
    SELECT head.position + r.nth, r.event_id, release_pending.stream, latest.version + r.nth,
        r.event_type, r.event_data, r.metadata, r.occurred_at, head.created_at,
        event_store.shard_of(release_pending.stream)
    FROM (SELECT d.*, row_number() OVER (ORDER BY d.arrival) AS nth FROM removed d) r
    CROSS JOIN (
        SELECT coalesce(max(h.global_position), 0) AS position,
            greatest(clock_timestamp(), max(h.created_at)) AS created_at
        FROM (SELECT e.global_position, e.created_at FROM event_store.events e
              ORDER BY e.global_position DESC LIMIT 1) h
    ) head
    CROSS JOIN (
        SELECT coalesce(max(v.stream_version), 0) AS version
        FROM (SELECT e.stream_version FROM event_store.events e WHERE e.stream_id = release_pending.stream
              ORDER BY e.stream_version DESC LIMIT 1) v
    ) latest;
END $$;

-- Record a batch one event at a time, in batch order. If is_reported, `others` is as in event_store.append.
CREATE OR REPLACE FUNCTION event_store.record_row_by_row(
    events jsonb, messages jsonb, is_reported boolean, OUT outcomes jsonb, OUT shards smallint[], OUT others jsonb
)
LANGUAGE plpgsql AS $$
DECLARE
    e         event_store.incoming_event;
    result    event_store.append_result;
    described jsonb[];
BEGIN
    outcomes := '{}';
    shards := '{}';
    FOR e IN SELECT * FROM jsonb_populate_recordset(NULL::event_store.incoming_event, events) LOOP
        result := event_store.record_event(e, messages -> coalesce(e.message, 0));
        outcomes := outcomes || jsonb_build_object(result.outcome, coalesce((outcomes ->> result.outcome)::int, 0) + 1);
        IF NOT result.shards <@ shards THEN
            shards := shards || result.shards;
        END IF;
        IF is_reported AND result.outcome <> 'appended' THEN
            described := described || event_store.describe_other(e.message, e.index, result.outcome);
        END IF;
    END LOOP;
    others := to_jsonb(described);
END $$;

-- Record a whole batch in one statement: the optimistic path. The statement decides 'appended' and 'redelivered'. If
-- the batch contains an event with any other outcome, it writes nothing and sets `needs_row_by_row`. Then
-- record_row_by_row records the batch. This happens if an event is pending, releases pending events or must wait for
-- its session's learner; has the id of an event with other content or an id that occurs twice in the batch; has a time
-- in the future; or starts a session of another learner.
--
-- The rows and outcomes equal those of record_row_by_row, because both compare content with same_content, use the order
-- of batch_order, and take the learner from the event or, if the event names no learner, from the event's session.
--
-- The start of a statement costs as much as 15 events (measured), and each CTE adds to it. The data and metadata of the
-- events are joined at the end, because carrying them through the sorts would make the statement 3 % slower.
CREATE OR REPLACE FUNCTION event_store.record_batch(
    events jsonb, is_reported boolean,
    OUT needs_row_by_row boolean, OUT outcomes jsonb, OUT shards smallint[], OUT others jsonb
)
LANGUAGE plpgsql AS $$
DECLARE
    any_pending boolean := EXISTS (SELECT FROM event_store.pending);
BEGIN
    WITH incoming AS MATERIALIZED (
        SELECT * FROM jsonb_populate_recordset(NULL::event_store.incoming_event, record_batch.events)
    ), first_start AS MATERIALIZED (   -- the first SessionStarted of each session in this batch
        SELECT DISTINCT ON (i.session_id) i.session_id, i.learner, event_store.batch_order(i.message, i.index) AS n
        FROM incoming i
        WHERE i.event_type = 'SessionStarted'
        ORDER BY i.session_id, n
    ), decided AS MATERIALIZED (
        SELECT event_store.batch_order(i.message, i.index) AS n, i.event_id, owned.stream, stored.shard AS stored_in,
            owned.stream IS NULL
            OR stored.event_id IS NOT NULL AND NOT (
                event_store.same_content(i.event_type, i.data, i.occurred_at, i.metadata,
                    stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
                AND event_store.same_learner(stored.stream_id, owned.stream))
            OR i.occurred_at > clock_timestamp() + interval '10 minutes'
            OR i.event_type = 'SessionStarted' AND coalesce(known.user_id, first_start.learner) <> i.learner
            OR any_pending AND EXISTS (
                SELECT FROM event_store.pending p
                WHERE p.event_id = i.event_id OR i.event_type = 'SessionStarted' AND p.session_id = i.session_id
            ) AS needs_row_by_row
        FROM incoming i
        -- OFFSET 0 makes the plan look up each event by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT * FROM event_store.events s WHERE s.event_id = i.event_id OFFSET 0
        ) stored ON true
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE s.session_id = i.session_id
              AND (i.learner IS NULL OR i.event_type = 'SessionStarted')
            OFFSET 0
        ) known ON true
        LEFT JOIN first_start ON first_start.session_id = i.session_id
            AND first_start.n <= event_store.batch_order(i.message, i.index)
        CROSS JOIN LATERAL (
            SELECT coalesce('learner-' || coalesce(i.learner, known.user_id, first_start.learner),
                            i.stream_id) AS stream
        ) owned
    ), verdict AS MATERIALIZED (
        SELECT bool_or(d.needs_row_by_row)
            OR count(DISTINCT d.event_id) < count(*) AS needs_row_by_row
        FROM decided d
    ), numbered AS MATERIALIZED (      -- the new events; none if the batch needs record_row_by_row
        SELECT d.event_id, d.stream,
            row_number() OVER (PARTITION BY d.stream ORDER BY d.n) AS in_stream,
            row_number() OVER (ORDER BY d.n) AS in_batch
        FROM decided d
        WHERE d.stored_in IS NULL AND NOT (SELECT v.needs_row_by_row FROM verdict v)
    ), insert_session AS (
        INSERT INTO event_store.sessions
        SELECT f.session_id, f.learner FROM first_start f
        WHERE NOT (SELECT v.needs_row_by_row FROM verdict v)
        ON CONFLICT DO NOTHING
    ), streams AS MATERIALIZED (
        SELECT d.stream, coalesce(latest.stream_version, 0) AS version,
            event_store.shard_of(d.stream) AS shard
        FROM (SELECT DISTINCT n.stream FROM numbered n) d
        LEFT JOIN LATERAL (
            SELECT e.stream_version FROM event_store.events e
            WHERE e.stream_id = d.stream ORDER BY e.stream_version DESC LIMIT 1
        ) latest ON true
    ), head AS MATERIALIZED (
        SELECT coalesce(max(h.global_position), 0) AS position,
            greatest(clock_timestamp(), max(h.created_at)) AS created_at
        FROM (SELECT e.global_position, e.created_at FROM event_store.events e
              ORDER BY e.global_position DESC LIMIT 1) h
    ), append_row AS (
        INSERT INTO event_store.events
        SELECT head.position + n.in_batch, n.event_id, n.stream, streams.version + n.in_stream,
            i.event_type, i.data, i.metadata, i.occurred_at, head.created_at, streams.shard
        FROM numbered n
        JOIN incoming i ON i.event_id = n.event_id
        JOIN streams ON streams.stream = n.stream
        CROSS JOIN head
    )
    SELECT v.needs_row_by_row,
        jsonb_build_object('appended', (SELECT count(*) FROM numbered),
            'redelivered', (SELECT count(*) FROM decided d WHERE d.stored_in IS NOT NULL)),
        ARRAY(SELECT s.shard FROM streams s
              UNION SELECT d.stored_in FROM decided d WHERE d.stored_in IS NOT NULL),
        CASE WHEN is_reported THEN
            (SELECT jsonb_agg(jsonb_build_array(d.n, 'redelivered')) FROM decided d WHERE d.stored_in IS NOT NULL) END
    INTO needs_row_by_row, outcomes, shards, others
    FROM verdict v;
END $$;

-- Write the dead letters of events that ingest rejected. If such an event is in the log with the same content (recorded
-- under older rules), the event is a redelivery, and a dead letter is not written. If is_reported, `others` is as in
-- event_store.append.
CREATE OR REPLACE FUNCTION event_store.record_rejections(
    letters jsonb, messages jsonb, is_reported boolean, OUT outcomes jsonb, OUT shards smallint[], OUT others jsonb
)
LANGUAGE plpgsql AS $$
BEGIN
    WITH rejected AS MATERIALIZED (
        SELECT l.*, messages -> l.message AS source, stored.shard AS stored_in
        FROM jsonb_to_recordset(letters) AS l(n int, message int, index int, kind text,
            event_id text, event_type text, reason text, payload text, attributes jsonb,
            id uuid, stored_type text, occurred_at timestamptz, data jsonb, metadata jsonb,
            learner text, indexes jsonb, texts text[], owners text[])
        LEFT JOIN LATERAL (
            SELECT s.shard FROM event_store.events s
            WHERE s.event_id = l.id
              AND event_store.same_content(l.stored_type, l.data, l.occurred_at, l.metadata,
                    s.event_type, s.event_data, s.occurred_at, s.metadata)
              AND event_store.same_learner(s.stream_id, 'learner-' || l.learner)
            OFFSET 0
        ) stored ON true
    ), insert_letter AS (
        INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
            index_in_message, event_id, event_type, reason, payload, attributes, indexes, owners, published_at, poster)
        SELECT r.kind, r.source ->> 'topic', r.source ->> 'subscription',
            r.source ->> 'message_id', r.index, r.event_id, r.event_type, r.reason,
            coalesce('[' || array_to_string(r.texts, ',') || ']', r.payload), r.attributes,
            r.indexes, event_store.stored_owners(r.owners), (r.source ->> 'published_at')::timestamptz,
            encode(event_store.erasure_digest(r.source ->> 'poster'), 'hex')
        FROM rejected r WHERE r.stored_in IS NULL
        ORDER BY r.n
        ON CONFLICT DO NOTHING
    )
    SELECT jsonb_object_agg(counted.outcome, counted.count),
        ARRAY(SELECT DISTINCT r.stored_in FROM rejected r WHERE r.stored_in IS NOT NULL),
        CASE WHEN is_reported THEN
            (SELECT jsonb_agg(event_store.describe_other(r.message, r.index, 'redelivered'))
             FROM rejected r WHERE r.stored_in IS NOT NULL) END
    INTO outcomes, shards, others
    FROM (SELECT CASE WHEN r.stored_in IS NULL THEN r.kind ELSE 'redelivered' END AS outcome, count(*)
          FROM rejected r GROUP BY 1) counted;
END $$;

-- Write a dead letter for an event, unless the message already has a dead letter for the event's index. If the event
-- did not come from a message, but from append_events or a replay, raise PR001 instead, with the kind as its detail. A
-- conflict of an event that a learner has posted is only counted, and only if the learner has posted the recorded one,
-- too: an import may have recorded it first.
CREATE OR REPLACE FUNCTION event_store.write_dead_letter(
    message jsonb, e event_store.incoming_event, kind text, reason text, due_at timestamptz DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF kind = 'conflict' AND e.metadata ->> 'posted_by' = 'learner' THEN
        INSERT INTO event_store.learner_conflicts AS c
        SELECT e.learner, (clock_timestamp() AT TIME ZONE 'UTC')::date, 1
        FROM event_store.events s
        WHERE s.event_id = e.event_id AND s.metadata ->> 'posted_by' = 'learner'
        ON CONFLICT (user_id, day) DO UPDATE SET conflicts = c.conflicts + 1;
        RETURN;
    END IF;
    IF message IS NULL THEN
        RAISE EXCEPTION '%', reason
            USING ERRCODE = 'PR001', DETAIL = kind;
    END IF;
    INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
        index_in_message, event_id, event_type, reason, payload, owners, published_at, due_at, poster)
    VALUES (kind, message ->> 'topic', message ->> 'subscription', message ->> 'message_id',
        e.index, e.event_id, e.event_type, reason,
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.data, 'metadata', e.metadata)::text,
        event_store.stored_owners(ARRAY[CASE WHEN e.stream_id LIKE 'group-%' THEN 'nobody' ELSE coalesce(
            'learner:' || coalesce(e.data ->> 'user_id', e.metadata ->> 'user_id', e.learner),
            'session:' || (e.data ->> 'session_id'), 'nobody') END]),
        (message ->> 'published_at')::timestamptz, due_at,
        encode(event_store.erasure_digest(message ->> 'poster'), 'hex'))
    ON CONFLICT DO NOTHING;
END $$;

-- Return the rule that an event broke which became a dead letter of this kind; null for other outcomes.
CREATE OR REPLACE FUNCTION event_store.reason_of(outcome text) RETURNS text
LANGUAGE sql IMMUTABLE
RETURN CASE outcome
    WHEN 'conflict' THEN 'expected the same content as the first event with this event_id - at $.event_id'
    WHEN 'future' THEN 'expected a time at most 10 minutes ahead of the clock - at $.occurred_at'
    WHEN 'session_owner' THEN 'expected the learner of the session''s first SessionStarted - at $.data.user_id'
END;

-- Return whether two texts are one time; false if one is no time.
CREATE OR REPLACE FUNCTION event_store.same_moment(a text, b text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN coalesce(a::timestamptz = b::timestamptz, false);
EXCEPTION WHEN data_exception THEN
    RETURN false;
END $$;

-- Return whether two streams may be those of one event: an unknown learner matches any. An event about a list that
-- names no learner is the catalogue's.
CREATE OR REPLACE FUNCTION event_store.same_learner(stored_stream text, stream text) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN coalesce(stored_stream = stream
    OR stored_stream NOT LIKE 'learner-%' AND stored_stream NOT LIKE 'list-%'
    OR stream NOT LIKE 'learner-%' AND stream NOT LIKE 'list-%', true);

-- Return whether two events with the same id have the same content. The caller compares the learners. A time that was
-- taken from the message's publish time is not compared, because each delivery may have another publish time. The `due`
-- of a CardReviewed that was recorded before its declaration may have another form than a later delivery.
CREATE OR REPLACE FUNCTION event_store.same_content(
    a_type text, a_data jsonb, a_at timestamptz, a_metadata jsonb,
    b_type text, b_data jsonb, b_at timestamptz, b_metadata jsonb
) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN a_type = b_type AND (a_data = b_data OR a_type = 'CardReviewed' AND a_data - 'due' = b_data - 'due'
        AND event_store.same_moment(a_data ->> 'due', b_data ->> 'due'))
    AND (a_at = b_at
    OR a_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time'
    OR b_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time');

-- Return a number that orders the events of a batch; an event without `message` counts as part of the first message.
CREATE OR REPLACE FUNCTION event_store.batch_order(message integer, index integer) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN (coalesce(message, 0)::bigint << 32) + index;

-- Return one element of "others": the place of an entry in the batch, what became of it, and why.
CREATE OR REPLACE FUNCTION event_store.describe_other(message integer, index integer, outcome text) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN jsonb_build_array(event_store.batch_order(message, index), outcome, event_store.reason_of(outcome));

-- Return the shard of a stream, 0 to 15. Different shards are projected in parallel.
CREATE OR REPLACE FUNCTION event_store.shard_of(stream_id text) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (hashtextextended(stream_id COLLATE "C", 0) & 15)::smallint;

-- Add up two JSON objects of counts by outcome, such as {"appended": 3, "pending": 1}.
CREATE OR REPLACE FUNCTION event_store.add_outcomes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN (SELECT coalesce(jsonb_object_agg(t.key, t.sum), '{}')
        FROM (SELECT o.key, sum(o.value::int)
              FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) o
              GROUP BY o.key) t);
