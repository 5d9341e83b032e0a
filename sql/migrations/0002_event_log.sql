-- The event log, and what the append needs beside it.

CREATE SCHEMA event_store;

CREATE TABLE event_store.events (
    global_position bigint      PRIMARY KEY,         -- dense, and visible in its order
    event_id        uuid        NOT NULL UNIQUE,
    stream_id       text        COLLATE "C" NOT NULL,  -- learner-…, item-…, other-…
    stream_version  bigint      NOT NULL,            -- 1, 2, 3 … in each stream
    event_type      text        COLLATE "C" NOT NULL,
    event_data      jsonb       NOT NULL,
    metadata        jsonb       NOT NULL,
    occurred_at     timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,            -- recorded; never falls along the positions
    shard           smallint    NOT NULL,            -- shard_of(stream_id)
    UNIQUE (stream_id, stream_version)
);
CREATE UNIQUE INDEX events_by_shard ON event_store.events (shard, global_position);

-- 0 to 15: the unit of parallel projection.
CREATE FUNCTION event_store.shard_of(stream_id text) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (hashtextextended(stream_id COLLATE "C", 0) & 15)::smallint;

-- The first position recorded at `moment` or later; null where all are earlier. Recorded times
-- never fall along the positions, so that a search by halves needs no index of its own.
CREATE FUNCTION event_store.position_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
    low    bigint := 1;
    high   bigint;      -- the answer is in low … high
    middle event_store.events;
BEGIN
    SELECT e.global_position + 1 INTO high
    FROM event_store.events e ORDER BY e.global_position DESC LIMIT 1;
    WHILE low < high LOOP
        SELECT * INTO middle FROM event_store.events e
        WHERE e.global_position >= (low + high) / 2 ORDER BY e.global_position LIMIT 1;
        IF middle.created_at < moment THEN
            low := middle.global_position + 1;
        ELSE
            high := (low + high) / 2;
        END IF;
    END LOOP;
    RETURN (SELECT min(e.global_position) FROM event_store.events e WHERE e.global_position >= low);
END $$;

-- The learner that the first SessionStarted to arrive told.
CREATE TABLE event_store.sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL
);

-- Events without a learner whose session is not known yet: they have no position.
CREATE TABLE event_store.pending (
    event_id    uuid        PRIMARY KEY,
    session_id  text        COLLATE "C" NOT NULL,
    event_type  text        COLLATE "C" NOT NULL,
    event_data  jsonb       NOT NULL,
    metadata    jsonb       NOT NULL,
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    arrival     bigint      GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX pending_by_session ON event_store.pending (session_id, arrival);

CREATE TABLE event_store.dead_letters (
    letter_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             text        NOT NULL CHECK (kind IN (
                         'malformed', 'invalid', 'conflict', 'future', 'session_owner', 'poisoned')),
    topic            text,                           -- where the transport tells it
    subscription     text        NOT NULL,           -- '' where the transport tells none
    message_id       text        NOT NULL,
    index_in_message integer     NOT NULL,
    event_id         text,
    event_type       text,
    reason           text        NOT NULL,           -- the rule, and where: no value of the event
    payload          text        NOT NULL,           -- addresses masked, what is no text as \xNN
    attributes       jsonb       NOT NULL DEFAULT '{}',  -- that fill in what the payload leaves out
    published_at     timestamptz,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at           timestamptz,                    -- of a `future` letter
    replayed_at      timestamptz,
    discarded_at     timestamptz,
    discard_reason   text,
    UNIQUE (subscription, message_id, index_in_message)
);
CREATE INDEX dead_letters_due ON event_store.dead_letters (due_at)
    WHERE kind = 'future' AND replayed_at IS NULL AND discarded_at IS NULL;

-- Events that no fold survives: they are left out of every source of a fold.
CREATE TABLE event_store.poisoned (
    global_position bigint      PRIMARY KEY,
    error           text        NOT NULL,
    set_aside_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A learner's read-model state at a stream version.
CREATE TABLE event_store.snapshots (
    stream_id          text        COLLATE "C" NOT NULL,
    stream_version     bigint      NOT NULL,
    fingerprint        text        COLLATE "C" NOT NULL,  -- of the folds that made it
    newest_occurred_at timestamptz NOT NULL,              -- of the events within it
    state              jsonb       NOT NULL,
    taken_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream_id, stream_version, fingerprint)
);

-- The erasure procedure alone runs as this role; a superuser has to take it on knowingly.
CREATE FUNCTION event_store.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user = 'progress_erasure' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'event_store.events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_store.events
    FOR EACH STATEMENT EXECUTE FUNCTION event_store.refuse_change();
ALTER TABLE event_store.events ENABLE ALWAYS TRIGGER append_only;
