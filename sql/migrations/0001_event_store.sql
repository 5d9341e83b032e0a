-- The roles, and the event log with its tables, types and privileges. The functions are in sql/event_store/functions;
-- `migrate` applies them after the migrations, in the same transaction.

-- The functions' roles are groups that cannot log in; the users of a deployment are members of them. The members of
-- progress_load are Dataflow's workers, which load a rebuild from the archive. They have privileges only while a
-- rebuild loads, and only on the tables that are loaded (sql/recovery/archive_rebuild.sql).
-- Roles belong to the whole server. Another database may have created them already, or may be creating them now.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['progress_ingest', 'progress_project', 'progress_batch', 'progress_query',
                                  'progress_erasure', 'progress_load'] LOOP
        IF to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    -- The default privileges below need the privileges of progress_project, and the functions of erasures get the owner
    -- progress_erasure. From PostgreSQL 16 on, the creator of a role is a member of it without its privileges.
    FOREACH wanted IN ARRAY ARRAY['progress_project', 'progress_erasure'] LOOP
        IF NOT pg_has_role(wanted, 'USAGE') THEN
            EXECUTE format('GRANT %I TO %I', wanted, current_user);
        END IF;
    END LOOP;
END $$;

CREATE SCHEMA event_store;

CREATE TABLE event_store.events (
    global_position bigint      PRIMARY KEY,           -- without gaps, visible in ascending order
    event_id        uuid        NOT NULL UNIQUE,
    stream_id       text        COLLATE "C" NOT NULL,  -- learner-…, item-…, other-…
    stream_version  bigint      NOT NULL,              -- 1, 2, 3 … in each stream
    event_type      text        COLLATE "C" NOT NULL,
    event_data      jsonb       NOT NULL,
    metadata        jsonb       NOT NULL,
    occurred_at     timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,              -- recorded; never falls along the positions
    shard           smallint    NOT NULL,              -- shard_of(stream_id)
    UNIQUE (stream_id, stream_version)
);
CREATE UNIQUE INDEX events_by_shard ON event_store.events (shard, global_position);
CREATE INDEX events_by_type ON event_store.events (event_type, global_position);

-- Queries about the past read the catalogue at a time, and whether a learner was ever deleted, from this index alone.
CREATE INDEX events_of_items_and_deletions ON event_store.events (stream_id, occurred_at DESC, event_id DESC)
    INCLUDE (event_type, created_at, global_position)
    WHERE event_type IN ('ItemPublished', 'ItemUpdated', 'ItemArchived', 'UserDeleted');

CREATE TABLE event_store.sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL
);
COMMENT ON TABLE event_store.sessions IS
    'The learner that the first SessionStarted to arrive named. A session of an erased learner has no learner, and the '
    'erasure_digest of its id in hexadecimal digits in place of its id.';

-- Events without a learner whose session is not known yet. They have no position.
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
    topic            text,                           -- if the transport names it
    subscription     text        NOT NULL,           -- '' if the transport names none
    message_id       text        NOT NULL,
    index_in_message integer     NOT NULL,
    event_id         text,
    event_type       text,
    reason           text        NOT NULL,           -- the rule, and where; contains no value of the event
    payload          text        NOT NULL,           -- e-mail addresses masked; bytes that are not text as \xNN
    attributes       jsonb       NOT NULL DEFAULT '{}',  -- replace what the payload leaves out
    published_at     timestamptz,
    received_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at           timestamptz,                    -- of a `future` letter
    replayed_at      timestamptz,
    discarded_at     timestamptz,
    discard_reason   text,
    indexes          jsonb,        -- of a bundle: the places of its entries, [[first, last], …]
    emptied_bytes    integer,      -- the size of the payload that an erasure emptied, if it was not a JSON object
    emptied_sha256   text,         -- the hash of this payload
    UNIQUE (subscription, message_id, index_in_message)
);
CREATE INDEX dead_letters_due ON event_store.dead_letters (due_at)
    WHERE kind = 'future' AND replayed_at IS NULL AND discarded_at IS NULL;
-- Administrators read open letters first, the newest of them first.
CREATE INDEX dead_letters_listed ON event_store.dead_letters
    ((replayed_at IS NOT NULL), received_at DESC, letter_id DESC) WHERE discarded_at IS NULL;
-- The batch job deletes closed letters after a time.
CREATE INDEX dead_letters_closed ON event_store.dead_letters ((coalesce(replayed_at, discarded_at)))
    WHERE coalesce(replayed_at, discarded_at) IS NOT NULL;

-- Events that make a fold fail. No fold reads them.
CREATE TABLE event_store.poisoned (
    global_position bigint      PRIMARY KEY,
    error           text        NOT NULL,
    quarantined_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A learner's read-model state at a stream version.
CREATE TABLE event_store.snapshots (
    stream_id          text        COLLATE "C" NOT NULL,
    stream_version     bigint      NOT NULL,
    fingerprint        text        COLLATE "C" NOT NULL,  -- of the folds that made it
    newest_occurred_at timestamptz NOT NULL,              -- of the events that it contains
    state              jsonb       NOT NULL,
    taken_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    quarantined        bigint[]    NOT NULL DEFAULT '{}', -- the positions of the stream's events that it leaves out
    PRIMARY KEY (stream_id, stream_version, fingerprint)
);

-- Erased learners. The append accepts no event of them. Their events stay in place without contents, in the stream
-- event_store.erased_stream of their shard.
-- A text that is not a JSON object is compared with an erased id token by token (event_store.tokens). If the id
-- contains a separator, tokens_digest is the digest of the id's tokens, joined by spaces; otherwise it is null.
CREATE TABLE event_store.erased (
    digest        bytea       PRIMARY KEY,      -- event_store.erasure_digest of the learner's id
    operation_id  uuid        NOT NULL,
    erased_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    token_count   integer     NOT NULL DEFAULT 1,
    tokens_digest bytea
);
CREATE INDEX erased_by_tokens ON event_store.erased (token_count, tokens_digest) WHERE tokens_digest IS NOT NULL;

-- The key of the digests, as HMAC-SHA-256 uses it: 32 random bytes, padded to 64 and combined with each pad.
CREATE TABLE event_store.erasure_key (
    inner_key bytea NOT NULL,
    outer_key bytea NOT NULL
);
CREATE UNIQUE INDEX erasure_key_is_one_row ON event_store.erasure_key ((true));

INSERT INTO event_store.erasure_key
SELECT decode(string_agg(lpad(to_hex(get_byte(k.key, n) # 54), 2, '0'), '' ORDER BY n), 'hex'),
    decode(string_agg(lpad(to_hex(get_byte(k.key, n) # 92), 2, '0'), '' ORDER BY n), 'hex')
FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
          || decode(repeat('00', 32), 'hex') AS key) k, generate_series(0, 63) n;

-- Triggers need their functions, so these exist from here on. The function files replace the bodies.
CREATE FUNCTION event_store.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON event_store.events
    FOR EACH STATEMENT EXECUTE FUNCTION event_store.refuse_change();
ALTER TABLE event_store.events ENABLE ALWAYS TRIGGER append_only;

CREATE FUNCTION event_store.replace_erasure_key() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER replace_key BEFORE INSERT ON event_store.erasure_key
    FOR EACH ROW EXECUTE FUNCTION event_store.replace_erasure_key();

CREATE TYPE event_store.incoming_event AS (
    message     integer,
    index       integer,
    event_id    uuid,
    event_type  text,
    occurred_at timestamptz,
    data        jsonb,
    metadata    jsonb,
    learner     text,
    session_id  text,
    stream_id   text
);
COMMENT ON TYPE event_store.incoming_event IS
    'An event as ingest sends it. message, index: its place in the batch; learner, session_id: its own; '
    'stream_id: of an event without a learner; null while it waits for its session.';

CREATE TYPE event_store.append_result AS (outcome text, shards smallint[]);

CREATE TYPE event_store.judgement AS (gone integer[], emptied integer[]);
COMMENT ON TYPE event_store.judgement IS
    'The entries of a dead letter that belong to erased learners, by their places from 1: entries that are JSON '
    'objects, which are removed, and other entries, which are emptied. A dead letter that is not a bundle has one '
    'entry.';

-- Each function gets only the privileges that it needs.
GRANT USAGE ON SCHEMA event_store
    TO progress_ingest, progress_project, progress_batch, progress_query, progress_erasure;

GRANT SELECT ON event_store.events, event_store.poisoned, event_store.dead_letters, event_store.erased,
    event_store.erasure_key TO progress_project;  -- it writes the key into the ledger of erasures
GRANT SELECT, INSERT, DELETE ON event_store.snapshots TO progress_project;

GRANT SELECT ON event_store.events, event_store.poisoned, event_store.pending, event_store.erased TO progress_batch;
GRANT SELECT, DELETE ON event_store.dead_letters TO progress_batch;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_store.snapshots TO progress_batch;

GRANT SELECT ON ALL TABLES IN SCHEMA event_store TO progress_query;
REVOKE ALL ON event_store.erasure_key FROM progress_query;
ALTER DEFAULT PRIVILEGES IN SCHEMA event_store GRANT SELECT ON TABLES TO progress_query;

-- The functions that empty events run as progress_erasure, because the trigger on the events admits no other role.
GRANT CREATE ON SCHEMA event_store TO progress_erasure;
GRANT SELECT, DELETE ON event_store.poisoned TO progress_erasure;
GRANT SELECT, UPDATE, DELETE ON event_store.events, event_store.pending, event_store.sessions,
    event_store.dead_letters, event_store.snapshots TO progress_erasure;

-- progress_project creates and owns the schemas of the read models.
DO $$ BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO progress_project', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO progress_query', current_database());
END $$;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT USAGE ON SCHEMAS TO progress_batch, progress_query;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO progress_batch;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT SELECT ON TABLES TO progress_query;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT EXECUTE ON FUNCTIONS TO progress_batch, progress_query;
