-- What the tests of the transport read and change in its queue, and the queue of version 0.3.

-- rows --
SELECT subscription, message_id, message, is_dead FROM transport.queue ORDER BY published_at, message_id;

-- hold --
LOCK TABLE transport.queue IN EXCLUSIVE MODE;

-- last attempt --
UPDATE transport.queue SET attempts = 99;

-- give up --
UPDATE transport.queue SET is_dead = true;

-- empty --
DELETE FROM transport.queue;

-- know session --
INSERT INTO event_store.sessions (session_id, user_id) VALUES (:session, :user);

-- former schema --
CREATE SCHEMA pubsub_standin;
CREATE SEQUENCE pubsub_standin.runs;
CREATE TABLE pubsub_standin.topics (name text COLLATE "C" PRIMARY KEY);
CREATE TABLE pubsub_standin.subscriptions (name text COLLATE "C" PRIMARY KEY, definition bytea NOT NULL);
CREATE TABLE pubsub_standin.queue (
    subscription text COLLATE "C" NOT NULL,
    message_id   bigint           NOT NULL,
    message      bytea            NOT NULL,
    attempts     integer          NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, message_id)
);
ALTER TABLE pubsub_standin.queue
    ADD COLUMN acknowledged boolean NOT NULL DEFAULT false,
    ADD COLUMN published_at timestamptz NOT NULL DEFAULT clock_timestamp();

-- former topic --
INSERT INTO pubsub_standin.topics VALUES (:name) ON CONFLICT DO NOTHING;

-- former subscription --
INSERT INTO pubsub_standin.subscriptions VALUES (:name, :definition);

-- former message --
INSERT INTO pubsub_standin.queue (subscription, message_id, message) VALUES (:subscription, :id, :message);
