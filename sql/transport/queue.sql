-- The queue of the transport: progress/serve/transport/queue.py runs these statements as the transport's login, and
-- commands run the last ones as the owner.

-- topics --
SELECT name FROM transport.topics;

-- add topic --
INSERT INTO transport.topics VALUES (:name) ON CONFLICT DO NOTHING;

-- subscriptions --
SELECT definition FROM transport.subscriptions;

-- save subscription --
INSERT INTO transport.subscriptions VALUES (:name, :definition)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition;

-- remove subscription --
WITH emptied AS (DELETE FROM transport.queue WHERE subscription = :name)
DELETE FROM transport.subscriptions WHERE name = :name;

-- waiting --
SELECT subscription, message_id, message, attributes, ordering_key, published_at, attempts
FROM transport.queue WHERE NOT is_dead ORDER BY published_at;

-- remove --
DELETE FROM transport.queue q
USING unnest(:subscriptions::text[], :ids::text[]) AS a (subscription, message_id)
WHERE q.subscription = a.subscription AND q.message_id = a.message_id;

-- count attempts --
UPDATE transport.queue q SET attempts = a.attempts, is_dead = a.is_dead
FROM unnest(:subscriptions::text[], :ids::text[], :attempts::integer[], :dead::boolean[])
    AS a (subscription, message_id, attempts, is_dead)
WHERE q.subscription = a.subscription AND q.message_id = a.message_id;

-- undelivered --
SELECT subscription, messages FROM transport.count_undelivered();

-- has queue --
SELECT to_regclass('transport.queue') IS NOT NULL;

-- waiting for ingest --
-- How many messages wait for ingest, and of how many the delivery was given up.
SELECT coalesce(sum(u.messages) FILTER (WHERE NOT u.subscription LIKE '%-dead-letter-sub'), 0),
    coalesce(sum(u.messages) FILTER (WHERE u.subscription LIKE '%-dead-letter-sub'), 0)
FROM transport.count_undelivered() u WHERE u.subscription LIKE '%-events-ingest-sub%';

-- retry --
-- Let the transport deliver again what it has given up, and tell it; return the number of messages.
WITH again AS (
    UPDATE transport.queue SET is_dead = false, attempts = 0 WHERE is_dead RETURNING 1
)
SELECT count(*), pg_notify('transport', '') FROM again;

-- has former --
SELECT to_regclass('pubsub_standin.queue') IS NOT NULL;

-- former subscriptions --
SELECT definition FROM pubsub_standin.subscriptions;

-- former topics --
INSERT INTO transport.topics
SELECT t.name FROM pubsub_standin.topics t WHERE t.name !~ '-(ingest-sub-\d+|projection-sub)-dead-letter$'
ON CONFLICT DO NOTHING;

-- former messages --
SELECT subscription, message, attempts FROM pubsub_standin.queue WHERE NOT acknowledged ORDER BY message_id;

-- add --
INSERT INTO transport.queue (
    subscription, message_id, message, attributes, ordering_key, published_at, attempts, is_dead
)
VALUES (:subscription, :message_id, :message, :attributes, :ordering_key, CAST(:published_at AS timestamptz),
    :attempts, :is_dead)
ON CONFLICT DO NOTHING;

-- drop former --
DROP SCHEMA pubsub_standin CASCADE;
