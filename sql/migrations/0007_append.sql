-- The append names the shards of events that it finds recorded, too: a call that recorded them may have lost its
-- answer, and with it their wake-up. It also takes fewer steps than before for a single event, for what waited for its
-- session, and for a batch that is recorded one event at a time.

-- Appends pending events to the stream, in the order of their arrival.
CREATE FUNCTION event_store.append_pending(stream text, ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH released AS (
        DELETE FROM event_store.pending p WHERE p.event_id = ANY (ids) RETURNING p.*
    )
    INSERT INTO event_store.events
    SELECT head.position + r.nth, r.event_id, append_pending.stream, latest.version + r.nth,
        r.event_type, r.event_data, r.metadata, r.occurred_at, head.created_at,
        event_store.shard_of(append_pending.stream)
    FROM (SELECT d.*, row_number() OVER (ORDER BY d.arrival) AS nth FROM released d) r
    CROSS JOIN (
        SELECT coalesce(max(h.global_position), 0) AS position,
            greatest(clock_timestamp(), max(h.created_at)) AS created_at
        FROM (SELECT e.global_position, e.created_at FROM event_store.events e
              ORDER BY e.global_position DESC LIMIT 1) h
    ) head
    CROSS JOIN (
        SELECT coalesce(max(v.stream_version), 0) AS version
        FROM (SELECT e.stream_version FROM event_store.events e WHERE e.stream_id = append_pending.stream
              ORDER BY e.stream_version DESC LIMIT 1) v
    ) latest;
END $$;

-- Records an event whose ID is taken: a redelivery, a pending event that has a learner now, or a conflict.
CREATE OR REPLACE FUNCTION event_store.record_again(
    e event_store.arrival, whose text, stream text, message jsonb
) RETURNS event_store.recorded
LANGUAGE plpgsql AS $$
DECLARE
    stored event_store.events;
    held   event_store.pending;
    found  smallint[];           -- the shard of the first; none while that is pending
BEGIN
    SELECT * INTO stored FROM event_store.events s WHERE s.event_id = e.event_id;
    found := array_remove(ARRAY[stored.shard], NULL);
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
       AND (whose IS NULL OR stored.stream_id = stream OR stored.stream_id NOT LIKE 'learner-%')
    THEN
        RETURN ('redelivered', found)::event_store.recorded;
    END IF;
    SELECT * INTO held FROM event_store.pending p WHERE p.event_id = e.event_id;
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           held.event_type, held.event_data, held.occurred_at, held.metadata)
    THEN
        IF whose IS NULL THEN
            RETURN ('redelivered', found)::event_store.recorded;
        END IF;
        PERFORM event_store.append_pending(stream, ARRAY[held.event_id]);
        RETURN ('appended', ARRAY[event_store.shard_of(stream)])::event_store.recorded;
    END IF;
    PERFORM event_store.write_letter(message, e, 'conflict',
        'expected the content of the first event of this event_id - at $.event_id');
    RETURN ('conflict', found)::event_store.recorded;
END $$;

-- Records an event that record_one does not append.
CREATE FUNCTION event_store.record_other(
    e event_store.arrival, owner text, stream text, message jsonb
) RETURNS event_store.recorded
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM event_store.events s WHERE s.event_id = e.event_id)
       OR EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    THEN
        RETURN event_store.record_again(e, coalesce(e.learner, owner), stream, message);
    END IF;
    IF e.occurred_at > clock_timestamp() + interval '10 minutes' THEN
        PERFORM event_store.write_letter(message, e, 'future',
            'expected a time at most 10 minutes ahead of the clock - at $.occurred_at',
            e.occurred_at - interval '10 minutes');
        RETURN ('future', '{}')::event_store.recorded;
    END IF;
    IF stream IS NOT NULL THEN
        PERFORM event_store.write_letter(message, e, 'session_owner',
            'expected the learner of the session''s first SessionStarted - at $.data.user_id');
        RETURN ('session_owner', '{}')::event_store.recorded;
    END IF;
    INSERT INTO event_store.pending
        (event_id, session_id, event_type, event_data, metadata, occurred_at)
    VALUES (e.event_id, e.session_id, e.event_type, e.data, e.metadata, e.occurred_at);
    RETURN ('pending', '{}')::event_store.recorded;
END $$;

-- Records one event, by the table of outcomes. Each expression and each statement here costs the append of a single
-- event 1 to 5 %. So one statement both decides and appends.
CREATE OR REPLACE FUNCTION event_store.record_one(e event_store.arrival, message jsonb)
RETURNS event_store.recorded
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
            RETURN event_store.record_other(e, owner, 'learner-' || e.learner, message);
        END IF;
    END IF;
    stream := coalesce('learner-' || coalesce(e.learner, owner), e.stream_id);
    SELECT h.global_position, h.created_at INTO head
    FROM event_store.events h ORDER BY h.global_position DESC LIMIT 1;
    INSERT INTO event_store.events AS placed
    SELECT coalesce(head.global_position, 0) + 1, e.event_id, stream,
        coalesce((SELECT s.stream_version FROM event_store.events s WHERE s.stream_id = stream
                  ORDER BY s.stream_version DESC LIMIT 1), 0) + 1,
        e.event_type, e.data, e.metadata, e.occurred_at, greatest(clock_timestamp(), head.created_at),
        event_store.shard_of(stream)
    WHERE stream IS NOT NULL
      AND e.occurred_at <= clock_timestamp() + interval '10 minutes'
      AND NOT EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    ON CONFLICT (event_id) DO NOTHING
    RETURNING placed.shard INTO shard;
    IF shard IS NULL THEN
        RETURN event_store.record_other(e, owner, stream, message);
    END IF;
    IF owner IS NULL AND e.event_type = 'SessionStarted' THEN
        INSERT INTO event_store.sessions VALUES (e.session_id, e.learner);
        PERFORM event_store.append_pending(stream, ARRAY(
            SELECT p.event_id FROM event_store.pending p WHERE p.session_id = e.session_id));
    END IF;
    RETURN ('appended', ARRAY[shard])::event_store.recorded;
END $$;

DROP FUNCTION event_store.release(text, text);
DROP FUNCTION event_store.place(text, uuid, text, jsonb, jsonb, timestamptz);

-- Returns the turn of an event in its batch; without `message`, it is one of the first message. (The type's `n` is no
-- longer used. To drop it would make each event dearer: a column that was dropped is projected away.)
CREATE FUNCTION event_store.turn_of(message integer, index integer) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN (coalesce(message, 0)::bigint << 32) + index;

-- Records a whole batch in one statement; `odd` where it holds what only record_one can tell apart, and then nothing is
-- written. Parts that write do not see each other: all read the same snapshot. The data and metadata of an event join
-- it at the end, by its ID: to carry them through the sorts costs 3 %.
CREATE OR REPLACE FUNCTION event_store.record_many(
    events jsonb, OUT odd boolean, OUT outcomes jsonb, OUT shards smallint[]
)
LANGUAGE plpgsql AS $$
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT * FROM jsonb_populate_recordset(NULL::event_store.arrival, record_many.events)
    ), told AS MATERIALIZED (          -- the first start of each session in this batch
        SELECT DISTINCT ON (a.session_id) a.session_id, a.learner, event_store.turn_of(a.message, a.index) AS n
        FROM arrived a
        WHERE a.event_type = 'SessionStarted'
        ORDER BY a.session_id, n
    ), judged AS MATERIALIZED (
        SELECT event_store.turn_of(a.message, a.index) AS n, a.event_id,
            coalesce('learner-' || coalesce(a.learner, known.user_id, told.learner),
                     a.stream_id) AS stream,
            -- Its turn comes with the start that tells its learner, if that is later.
            CASE WHEN coalesce(a.learner, known.user_id) IS NULL
                 THEN greatest(event_store.turn_of(a.message, a.index), told.n)
                 ELSE event_store.turn_of(a.message, a.index) END AS turn,
            stored.shard AS stored_in,
            held.event_id IS NOT NULL
            OR CASE WHEN stored.event_id IS NOT NULL THEN NOT (
                event_store.same_content(a.event_type, a.data, a.occurred_at, a.metadata,
                    stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
                AND coalesce(stored.stream_id NOT LIKE 'learner-%'
                    OR stored.stream_id = 'learner-' || coalesce(a.learner, known.user_id,
                        CASE WHEN told.n < event_store.turn_of(a.message, a.index) THEN told.learner END), true)
            ) ELSE false END
            OR a.occurred_at > clock_timestamp() + interval '10 minutes'
            OR a.event_type = 'SessionStarted' AND coalesce(known.user_id, told.learner) <> a.learner AS is_odd
        FROM arrived a
        -- OFFSET 0: looked up by key for each event, however small the table was when the
        -- plan was made.
        LEFT JOIN LATERAL (
            SELECT * FROM event_store.events s WHERE s.event_id = a.event_id OFFSET 0
        ) stored ON true
        LEFT JOIN LATERAL (
            SELECT p.event_id FROM event_store.pending p
            WHERE p.event_id = a.event_id AND (SELECT EXISTS (SELECT FROM event_store.pending))
            OFFSET 0
        ) held ON true
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE s.session_id = a.session_id
              AND (a.learner IS NULL OR a.event_type = 'SessionStarted')
            OFFSET 0
        ) known ON true
        LEFT JOIN told ON told.session_id = a.session_id
            -- Only events without a stream wait for a later start.
            AND (told.n <= event_store.turn_of(a.message, a.index) OR a.stream_id IS NULL)
    ), verdict AS MATERIALIZED (
        SELECT bool_or(j.is_odd)
            OR count(DISTINCT j.event_id) < count(*) AS is_odd
        FROM judged j
    ), fresh AS NOT MATERIALIZED (     -- nothing, if the batch is odd
        SELECT * FROM judged j
        WHERE j.stored_in IS NULL AND NOT (SELECT v.is_odd FROM verdict v)
    ), known_now AS MATERIALIZED (
        SELECT t.session_id, t.learner, t.n, f.stream FROM told t JOIN fresh f ON f.n = t.n
    ), started AS (
        INSERT INTO event_store.sessions
        SELECT t.session_id, t.learner FROM known_now t
        ORDER BY t.session_id
        ON CONFLICT DO NOTHING
    ), removed AS (
        DELETE FROM event_store.pending p
        WHERE p.session_id = ANY (ARRAY(SELECT t.session_id FROM known_now t))
        RETURNING p.*
    ), released AS (
        SELECT p.*, t.n, t.stream FROM removed p JOIN known_now t ON t.session_id = p.session_id
    ), held AS (
        INSERT INTO event_store.pending
            (event_id, session_id, event_type, event_data, metadata, occurred_at)
        SELECT a.event_id, a.session_id, a.event_type, a.data, a.metadata, a.occurred_at
        FROM fresh f JOIN arrived a ON a.event_id = f.event_id
        WHERE f.stream IS NULL
        ORDER BY f.n
        RETURNING 1
    ), sequence AS (                   -- a start, then what waited for it, then what came before it
        SELECT f.turn, CASE WHEN f.n = f.turn THEN 0 ELSE 2 END AS rank, f.n AS nth, f.stream, f.event_id
        FROM fresh f WHERE f.stream IS NOT NULL
        UNION ALL
        SELECT r.n, 1, r.arrival, r.stream, r.event_id
        FROM released r
    ), numbered AS MATERIALIZED (
        SELECT s.*,
            row_number() OVER (PARTITION BY s.stream ORDER BY s.turn, s.rank, s.nth) AS in_stream,
            row_number() OVER (ORDER BY s.turn, s.rank, s.nth) AS in_batch
        FROM sequence s
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
    ), placed AS (
        INSERT INTO event_store.events
        SELECT head.position + n.in_batch, n.event_id, n.stream, streams.version + n.in_stream,
            e.event_type, e.data, e.metadata, e.occurred_at, head.created_at, streams.shard
        FROM numbered n
        JOIN (
            SELECT a.event_id, a.event_type, a.data, a.metadata, a.occurred_at FROM arrived a
            UNION ALL
            SELECT r.event_id, r.event_type, r.event_data, r.metadata, r.occurred_at FROM released r
        ) e ON e.event_id = n.event_id
        JOIN streams ON streams.stream = n.stream
        CROSS JOIN head
    )
    SELECT v.is_odd,
        jsonb_build_object('appended', (SELECT count(*) FROM numbered),
            'pending', (SELECT count(*) FROM held),
            'redelivered', (SELECT count(*) FROM judged j WHERE j.stored_in IS NOT NULL)),
        ARRAY(SELECT s.shard FROM streams s
              UNION SELECT j.stored_in FROM judged j WHERE j.stored_in IS NOT NULL)
    INTO odd, outcomes, shards
    FROM verdict v;
END $$;

ALTER TABLE event_store.dead_letters
    ADD indexes jsonb;       -- of a bundle: where its entries stood, [[first, last], …]; payload is their array

-- Records the letters that the door wrote. A faulted event that is stored with the same content (recorded under older
-- rules) is a redelivery and no letter.
DROP FUNCTION event_store.take_letters(jsonb, jsonb);
CREATE FUNCTION event_store.take_letters(letters jsonb, messages jsonb, OUT outcomes jsonb, OUT shards smallint[])
LANGUAGE plpgsql AS $$
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT l.*, messages -> l.message AS sender, stored.shard AS stored_in
        FROM jsonb_to_recordset(letters) AS l(n int, message int, index int, kind text,
            event_id text, event_type text, reason text, payload text, attributes jsonb,
            id uuid, stored_type text, occurred_at timestamptz, data jsonb, metadata jsonb,
            learner text, indexes jsonb)
        LEFT JOIN LATERAL (
            SELECT s.shard FROM event_store.events s
            WHERE s.event_id = l.id
              AND event_store.same_content(l.stored_type, l.data, l.occurred_at, l.metadata,
                    s.event_type, s.event_data, s.occurred_at, s.metadata)
              AND (l.learner IS NULL OR s.stream_id NOT LIKE 'learner-%'
                    OR s.stream_id = 'learner-' || l.learner)
            OFFSET 0
        ) stored ON true
    ), written AS (
        INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
            index_in_message, event_id, event_type, reason, payload, attributes, indexes, published_at)
        SELECT a.kind, a.sender ->> 'topic', a.sender ->> 'subscription',
            a.sender ->> 'message_id', a.index, a.event_id, a.event_type, a.reason, a.payload,
            a.attributes, a.indexes, (a.sender ->> 'published_at')::timestamptz
        FROM arrived a WHERE a.stored_in IS NULL
        ORDER BY a.n
        ON CONFLICT DO NOTHING
    )
    SELECT jsonb_object_agg(counted.outcome, counted.count),
        ARRAY(SELECT DISTINCT a.stored_in FROM arrived a WHERE a.stored_in IS NOT NULL)
    INTO outcomes, shards
    FROM (SELECT CASE WHEN a.stored_in IS NULL THEN a.kind ELSE 'redelivered' END AS outcome, count(*)
          FROM arrived a GROUP BY 1) counted;
END $$;

-- Records a batch one event at a time.
CREATE FUNCTION event_store.record_each(events jsonb, messages jsonb, OUT outcomes jsonb, OUT shards smallint[])
LANGUAGE plpgsql AS $$
DECLARE
    e   event_store.arrival;
    one event_store.recorded;
BEGIN
    outcomes := '{}';
    shards := '{}';
    FOR e IN SELECT * FROM jsonb_populate_recordset(NULL::event_store.arrival, events) LOOP
        one := event_store.record_one(e, messages -> coalesce(e.message, 0));
        outcomes := outcomes || jsonb_build_object(one.outcome, coalesce((outcomes ->> one.outcome)::int, 0) + 1);
        IF NOT one.shards <@ shards THEN
            shards := shards || one.shards;
        END IF;
    END LOOP;
END $$;

-- {"messages": [{topic, subscription, message_id, published_at}], "events": [arrival], "letters": [...]}; and of
-- append_events alone: "stream_id", "expected_version", no messages. `shards` are those to wake.
CREATE OR REPLACE FUNCTION event_store.append(
    batch jsonb, OUT outcomes jsonb, OUT shards smallint[], OUT stream_version bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
-- Plans made while the tables are empty live as long as the connection: by key, whatever the size.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_mergejoin = off
SET enable_nestloop = off
SET jit = off
AS $$
DECLARE
    events   jsonb := batch -> 'events';
    messages jsonb := batch -> 'messages';
    odd      boolean := true;    -- to be recorded one at a time
    e        event_store.arrival;
    one      event_store.recorded;
BEGIN
    -- Before the statements that read: the snapshot of each then holds all that was appended before.
    IF NOT pg_try_advisory_xact_lock(hashtextextended('event_store.append', 0)) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
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
        e := jsonb_populate_record(NULL::event_store.arrival, events -> 0);
        one := event_store.record_one(e, messages -> coalesce(e.message, 0));
        outcomes := jsonb_build_object(one.outcome, 1);
        shards := one.shards;
    ELSE
        IF jsonb_array_length(events) > 1 THEN
            SELECT m.odd, m.outcomes, m.shards INTO odd, outcomes, shards FROM event_store.record_many(events) m;
        END IF;
        IF odd THEN
            SELECT a.outcomes, a.shards INTO outcomes, shards FROM event_store.record_each(events, messages) a;
        END IF;
    END IF;

    IF batch ? 'letters' THEN
        SELECT event_store.add_outcomes(append.outcomes, l.outcomes), append.shards || l.shards INTO outcomes, shards
        FROM event_store.take_letters(batch -> 'letters', messages) l;
    END IF;
    IF batch ? 'stream_id' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
    END IF;
END $$;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA event_store FROM PUBLIC;
