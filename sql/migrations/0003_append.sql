-- The append: what becomes of each event of a batch, in one call.
--
-- record_one is the table of outcomes, one event at a time and in its order. record_many does
-- the same for a whole batch in one statement where nothing but new events, redeliveries and
-- pending events is in it; for the rest it says so and writes nothing.

-- One event as the door hands it over.
CREATE TYPE event_store.arrival AS (
    n           integer,      -- its turn in the batch
    message     integer,      -- which of the batch's messages, from 0
    index       integer,      -- its place in that message, from 0
    event_id    uuid,
    event_type  text,
    occurred_at timestamptz,
    data        jsonb,
    metadata    jsonb,
    learner     text,         -- that it names itself
    session_id  text,         -- through which its learner may be found
    stream_id   text          -- where it goes without a learner; null: it waits for its session
);

-- Whether a second event of an id is the first again. The learner is compared by the caller.
CREATE FUNCTION event_store.same_content(
    a_type text, a_data jsonb, a_at timestamptz, a_metadata jsonb,
    b_type text, b_data jsonb, b_at timestamptz, b_metadata jsonb
) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN a_type = b_type AND a_data = b_data AND (a_at = b_at
    OR a_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time'
    OR b_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time');

-- A letter about an event; none where the message has one for it. Without a message (a caller
-- of append_events) the event is refused instead.
CREATE FUNCTION event_store.write_letter(
    message jsonb, e event_store.arrival, kind text, reason text, due_at timestamptz DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF message IS NULL THEN
        RAISE EXCEPTION '%', reason
            USING ERRCODE = 'PR001', DETAIL = kind;
    END IF;
    INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
        index_in_message, event_id, event_type, reason, payload, published_at, due_at)
    VALUES (kind, message ->> 'topic', message ->> 'subscription', message ->> 'message_id',
        e.index, e.event_id, e.event_type, reason,
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.data, 'metadata', e.metadata)::text,
        (message ->> 'published_at')::timestamptz, due_at)
    ON CONFLICT DO NOTHING;
END $$;

-- The next row of the log; its shard.
CREATE FUNCTION event_store.place(
    stream text, id uuid, type text, data jsonb, metadata jsonb, occurred_at timestamptz
) RETURNS smallint
LANGUAGE plpgsql AS $$
DECLARE
    shard smallint := event_store.shard_of(stream);
BEGIN
    INSERT INTO event_store.events
    SELECT coalesce(max(h.global_position), 0) + 1, id, stream,
        coalesce((SELECT e.stream_version FROM event_store.events e WHERE e.stream_id = stream
                  ORDER BY e.stream_version DESC LIMIT 1), 0) + 1,
        type, data, metadata, occurred_at, greatest(clock_timestamp(), max(h.created_at)), shard
    FROM (SELECT e.global_position, e.created_at FROM event_store.events e
          ORDER BY e.global_position DESC LIMIT 1) h;
    RETURN shard;
END $$;

CREATE TYPE event_store.recorded AS (outcome text, shards smallint[]);

-- An event whose id is taken: a redelivery, a pending event that has a learner now, or a conflict.
CREATE FUNCTION event_store.record_again(
    e event_store.arrival, whose text, stream text, message jsonb
) RETURNS event_store.recorded
LANGUAGE plpgsql AS $$
DECLARE
    stored event_store.events;
    held   event_store.pending;
BEGIN
    SELECT * INTO stored FROM event_store.events s WHERE s.event_id = e.event_id;
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
       AND (whose IS NULL OR stored.stream_id = stream OR stored.stream_id NOT LIKE 'learner-%')
    THEN
        RETURN ('redelivered', '{}')::event_store.recorded;
    END IF;
    SELECT * INTO held FROM event_store.pending p WHERE p.event_id = e.event_id;
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           held.event_type, held.event_data, held.occurred_at, held.metadata)
    THEN
        IF whose IS NULL THEN
            RETURN ('redelivered', '{}')::event_store.recorded;
        END IF;
        DELETE FROM event_store.pending p WHERE p.event_id = e.event_id;
        RETURN ('appended', ARRAY[event_store.place(stream, held.event_id, held.event_type,
            held.event_data, held.metadata, held.occurred_at)])::event_store.recorded;
    END IF;
    PERFORM event_store.write_letter(message, e, 'conflict',
        'expected the content of the first event of this event_id - at $.event_id');
    RETURN ('conflict', '{}')::event_store.recorded;
END $$;

-- What waited for its session, right after the event that tells the session's learner.
CREATE FUNCTION event_store.release(session text, whose text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    held event_store.pending;
BEGIN
    INSERT INTO event_store.sessions VALUES (session, whose);
    FOR held IN SELECT * FROM event_store.pending p WHERE p.session_id = session ORDER BY p.arrival
    LOOP
        PERFORM event_store.place('learner-' || whose, held.event_id, held.event_type,
            held.event_data, held.metadata, held.occurred_at);
    END LOOP;
    DELETE FROM event_store.pending p WHERE p.session_id = session;
END $$;

-- The table of outcomes, for one event.
CREATE FUNCTION event_store.record_one(e event_store.arrival, message jsonb)
RETURNS event_store.recorded
LANGUAGE plpgsql AS $$
DECLARE
    owner  text;                 -- the session's learner
    whose  text := e.learner;    -- the event's
    stream text;
    shard  smallint;
BEGIN
    IF e.session_id IS NOT NULL AND (whose IS NULL OR e.event_type = 'SessionStarted') THEN
        SELECT s.user_id INTO owner FROM event_store.sessions s WHERE s.session_id = e.session_id;
        whose := coalesce(whose, owner);
    END IF;
    stream := coalesce('learner-' || whose, e.stream_id);

    IF EXISTS (SELECT FROM event_store.events s WHERE s.event_id = e.event_id)
       OR EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    THEN
        RETURN event_store.record_again(e, whose, stream, message);
    END IF;
    IF e.occurred_at > clock_timestamp() + interval '10 minutes' THEN
        PERFORM event_store.write_letter(message, e, 'future',
            'expected a time at most 10 minutes ahead of the clock - at $.occurred_at',
            e.occurred_at - interval '10 minutes');
        RETURN ('future', '{}')::event_store.recorded;
    END IF;
    IF e.event_type = 'SessionStarted' AND owner <> whose THEN
        PERFORM event_store.write_letter(message, e, 'session_owner',
            'expected the learner of the session''s first SessionStarted - at $.data.user_id');
        RETURN ('session_owner', '{}')::event_store.recorded;
    END IF;
    IF stream IS NULL THEN
        INSERT INTO event_store.pending
            (event_id, session_id, event_type, event_data, metadata, occurred_at)
        VALUES (e.event_id, e.session_id, e.event_type, e.data, e.metadata, e.occurred_at);
        RETURN ('pending', '{}')::event_store.recorded;
    END IF;
    shard := event_store.place(
        stream, e.event_id, e.event_type, e.data, e.metadata, e.occurred_at);
    IF e.event_type = 'SessionStarted' AND owner IS NULL THEN
        PERFORM event_store.release(e.session_id, whose);
    END IF;
    RETURN ('appended', ARRAY[shard])::event_store.recorded;
END $$;

-- A whole batch in one statement; `odd` where it holds what only record_one can tell apart, and
-- then nothing is written. Parts that write do not see each other: all read the same snapshot.
CREATE FUNCTION event_store.record_many(
    events jsonb, OUT odd boolean, OUT outcomes jsonb, OUT shards smallint[]
)
LANGUAGE plpgsql AS $$
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT * FROM jsonb_populate_recordset(NULL::event_store.arrival, record_many.events)
    ), told AS MATERIALIZED (          -- the first start of each session in this batch
        SELECT DISTINCT ON (a.session_id) a.session_id, a.learner, a.n
        FROM arrived a
        WHERE a.event_type = 'SessionStarted'
        ORDER BY a.session_id, a.n
    ), judged AS MATERIALIZED (
        SELECT a.n, a.event_id, a.event_type, a.occurred_at, a.data, a.metadata, a.learner,
            a.session_id,
            coalesce(known.user_id, told.learner) AS owner,
            coalesce('learner-' || coalesce(a.learner, known.user_id, told.learner),
                     a.stream_id) AS stream,
            -- Its turn comes with the start that tells its learner, if that is later.
            CASE WHEN coalesce(a.learner, known.user_id) IS NULL
                 THEN greatest(a.n, told.n) ELSE a.n END AS turn,
            stored.event_id IS NOT NULL AS is_stored,
            held.event_id IS NOT NULL
            OR CASE WHEN stored.event_id IS NOT NULL THEN NOT (
                event_store.same_content(a.event_type, a.data, a.occurred_at, a.metadata,
                    stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
                AND coalesce(stored.stream_id NOT LIKE 'learner-%'
                    OR stored.stream_id = 'learner-' || coalesce(a.learner, known.user_id,
                        CASE WHEN told.n < a.n THEN told.learner END), true)
            ) ELSE false END AS is_other
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
            AND (told.n <= a.n OR a.stream_id IS NULL)    -- only these wait for a later start
    ), verdict AS MATERIALIZED (
        SELECT bool_or(j.is_other)
            OR count(DISTINCT j.event_id) < count(*)
            OR bool_or(j.occurred_at > clock_timestamp() + interval '10 minutes')
            OR bool_or(j.event_type = 'SessionStarted' AND j.owner <> j.learner) AS is_odd
        FROM judged j
    ), fresh AS NOT MATERIALIZED (     -- nothing, if the batch is odd
        SELECT * FROM judged j
        WHERE NOT j.is_stored AND NOT (SELECT v.is_odd FROM verdict v)
    ), started AS (
        INSERT INTO event_store.sessions
        SELECT t.session_id, t.learner FROM told t JOIN fresh f ON f.n = t.n
        ORDER BY t.session_id
        ON CONFLICT DO NOTHING
    ), released AS (
        DELETE FROM event_store.pending p
        USING told t JOIN fresh f ON f.n = t.n
        WHERE p.session_id = t.session_id
        RETURNING p.*, t.n, f.stream
    ), held AS (
        INSERT INTO event_store.pending
            (event_id, session_id, event_type, event_data, metadata, occurred_at)
        SELECT f.event_id, f.session_id, f.event_type, f.data, f.metadata, f.occurred_at
        FROM fresh f WHERE f.stream IS NULL
        ORDER BY f.n
        RETURNING 1
    ), sequence AS (                   -- a start, then what waited for it, then what came before it
        SELECT f.turn, CASE WHEN f.n = f.turn THEN 0 ELSE 2 END AS rank, f.n::bigint AS nth,
            f.stream, f.event_id, f.event_type, f.data, f.metadata, f.occurred_at
        FROM fresh f WHERE f.stream IS NOT NULL
        UNION ALL
        SELECT r.n, 1, r.arrival,
            r.stream, r.event_id, r.event_type, r.event_data, r.metadata, r.occurred_at
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
            n.event_type, n.data, n.metadata, n.occurred_at, head.created_at, streams.shard
        FROM numbered n JOIN streams ON streams.stream = n.stream CROSS JOIN head
    )
    SELECT v.is_odd,
        jsonb_build_object('appended', (SELECT count(*) FROM numbered),
            'pending', (SELECT count(*) FROM held),
            'redelivered', (SELECT count(*) FROM judged j WHERE j.is_stored)),
        ARRAY(SELECT DISTINCT s.shard FROM streams s)
    INTO odd, outcomes, shards
    FROM verdict v;
END $$;

-- Letters that the door wrote. A faulted event that is stored with the same content (recorded
-- under older rules) is a redelivery and no letter.
CREATE FUNCTION event_store.take_letters(letters jsonb, messages jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    outcomes jsonb;
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT l.*, messages -> l.message AS sender, stored.event_id IS NOT NULL AS is_stored
        FROM jsonb_to_recordset(letters) AS l(n int, message int, index int, kind text,
            event_id text, event_type text, reason text, payload text, attributes jsonb,
            id uuid, stored_type text, occurred_at timestamptz, data jsonb, metadata jsonb,
            learner text)
        LEFT JOIN LATERAL (
            SELECT s.event_id FROM event_store.events s
            WHERE s.event_id = l.id
              AND event_store.same_content(l.stored_type, l.data, l.occurred_at, l.metadata,
                    s.event_type, s.event_data, s.occurred_at, s.metadata)
              AND (l.learner IS NULL OR s.stream_id NOT LIKE 'learner-%'
                    OR s.stream_id = 'learner-' || l.learner)
            OFFSET 0
        ) stored ON true
    ), written AS (
        INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
            index_in_message, event_id, event_type, reason, payload, attributes, published_at)
        SELECT a.kind, a.sender ->> 'topic', a.sender ->> 'subscription',
            a.sender ->> 'message_id', a.index, a.event_id, a.event_type, a.reason, a.payload,
            a.attributes, (a.sender ->> 'published_at')::timestamptz
        FROM arrived a WHERE NOT a.is_stored
        ORDER BY a.n
        ON CONFLICT DO NOTHING
    )
    SELECT jsonb_object_agg(counted.outcome, counted.count) INTO outcomes
    FROM (SELECT CASE WHEN a.is_stored THEN 'redelivered' ELSE a.kind END AS outcome, count(*)
          FROM arrived a GROUP BY 1) counted;
    RETURN outcomes;
END $$;

-- Counts of outcomes added up.
CREATE FUNCTION event_store.add_outcomes(a jsonb, b jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE
RETURN (SELECT coalesce(jsonb_object_agg(t.key, t.sum), '{}')
        FROM (SELECT o.key, sum(o.value::int)
              FROM (SELECT * FROM jsonb_each_text(a) UNION ALL SELECT * FROM jsonb_each_text(b)) o
              GROUP BY o.key) t);

-- {"messages": [{topic, subscription, message_id, published_at}], "events": [arrival],
--  "letters": [...]}; and of append_events alone: "stream_id", "expected_version", no messages.
CREATE FUNCTION event_store.append(
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
    odd boolean := true;    -- to be recorded one at a time
    e   event_store.arrival;
    one event_store.recorded;
BEGIN
    -- A statement of its own: the next one's snapshot then holds all that was appended before.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

    IF batch ? 'expected_version' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
        IF append.stream_version <> (batch ->> 'expected_version')::bigint THEN
            RAISE EXCEPTION 'expected the stream at version %, found it at %',
                batch ->> 'expected_version', append.stream_version USING ERRCODE = 'PR001';
        END IF;
    END IF;

    IF jsonb_array_length(batch -> 'events') > 1 THEN
        SELECT m.odd, m.outcomes, m.shards INTO odd, outcomes, shards
        FROM event_store.record_many(batch -> 'events') m;
    END IF;
    IF odd THEN
        outcomes := '{}';
        shards := '{}';
        FOR turn IN 0 .. jsonb_array_length(batch -> 'events') - 1 LOOP
            e := jsonb_populate_record(NULL::event_store.arrival, batch -> 'events' -> turn);
            one := event_store.record_one(e, batch -> 'messages' -> e.message);
            outcomes := outcomes || jsonb_build_object(
                one.outcome, coalesce((outcomes ->> one.outcome)::int, 0) + 1);
            shards := shards || one.shards;
        END LOOP;
    END IF;

    IF batch ? 'letters' THEN
        outcomes := event_store.add_outcomes(
            outcomes, event_store.take_letters(batch -> 'letters', batch -> 'messages'));
    END IF;
    IF batch ? 'stream_id' THEN
        SELECT coalesce(max(s.stream_version), 0) INTO append.stream_version
        FROM event_store.events s WHERE s.stream_id = batch ->> 'stream_id';
    END IF;
END $$;
