-- The queue of the stand-in for Pub/Sub: published messages that are not acknowledged yet, and acknowledged messages of
-- subscriptions that keep them.

-- schema --
CREATE SCHEMA IF NOT EXISTS pubsub_standin;
CREATE SEQUENCE IF NOT EXISTS pubsub_standin.runs;
CREATE TABLE IF NOT EXISTS pubsub_standin.topics (
    name text COLLATE "C" PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS pubsub_standin.subscriptions (
    name       text COLLATE "C" PRIMARY KEY,
    definition bytea NOT NULL   -- a google.pubsub.v1.Subscription
);
CREATE TABLE IF NOT EXISTS pubsub_standin.queue (
    subscription text COLLATE "C" NOT NULL,
    message_id   bigint           NOT NULL,
    message      bytea            NOT NULL,   -- a google.pubsub.v1.PubsubMessage
    attempts     integer          NOT NULL DEFAULT 0,
    PRIMARY KEY (subscription, message_id)
);
ALTER TABLE pubsub_standin.queue
    ADD COLUMN IF NOT EXISTS acknowledged boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS published_at timestamptz NOT NULL DEFAULT clock_timestamp();
DELETE FROM pubsub_standin.queue WHERE acknowledged AND published_at < now() - interval '7 days';

-- run --
-- The number of this run of the stand-in. Each message id contains this number, so that no id is used twice.
SELECT nextval('pubsub_standin.runs');

-- topics --
SELECT name FROM pubsub_standin.topics;

-- add topic --
INSERT INTO pubsub_standin.topics VALUES (:name) ON CONFLICT DO NOTHING;

-- remove topic --
DELETE FROM pubsub_standin.topics WHERE name = :name;

-- subscriptions --
SELECT definition FROM pubsub_standin.subscriptions;

-- save subscription --
INSERT INTO pubsub_standin.subscriptions VALUES (:name, :definition)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition;

-- remove subscription --
WITH emptied AS (DELETE FROM pubsub_standin.queue WHERE subscription = :name)
DELETE FROM pubsub_standin.subscriptions WHERE name = :name;

-- queue --
SELECT subscription, message, attempts FROM pubsub_standin.queue WHERE NOT acknowledged ORDER BY message_id;

-- acknowledge --
DELETE FROM pubsub_standin.queue q
USING unnest(:subscriptions::text[], :ids::bigint[]) AS a (subscription, message_id)
WHERE q.subscription = a.subscription AND q.message_id = a.message_id;

-- retain --
UPDATE pubsub_standin.queue q SET acknowledged = true
FROM unnest(:subscriptions::text[], :ids::bigint[]) AS a (subscription, message_id)
WHERE q.subscription = a.subscription AND q.message_id = a.message_id;

-- seek --
UPDATE pubsub_standin.queue SET acknowledged = published_at < :time, attempts = 0 WHERE subscription = :name;

-- queue of --
SELECT message FROM pubsub_standin.queue WHERE subscription = :name AND NOT acknowledged ORDER BY message_id;

-- count attempts --
UPDATE pubsub_standin.queue q SET attempts = a.attempts
FROM unnest(:subscriptions::text[], :ids::bigint[], :attempts::integer[])
    AS a (subscription, message_id, attempts)
WHERE q.subscription = a.subscription AND q.message_id = a.message_id;
