-- The queue of version 0.4: progress/serve/former_queue.py records what it has for ingest.

-- exists --
SELECT to_regclass('transport.queue') IS NOT NULL;

-- messages --
-- What waited for ingest, and what it did not take in 100 attempts, in the order of their publication.
SELECT subscription, message_id, message, attributes, published_at
FROM transport.queue
WHERE subscription ~ '-events-ingest-sub(-\d+)?$'
ORDER BY published_at, message_id
LIMIT 100;

-- remove --
DELETE FROM transport.queue WHERE subscription = :subscription AND message_id = :message_id;

-- drop --
DROP SCHEMA transport CASCADE;
