-- What others than the transport may know of its queue, and the only change that they may make.

-- Count the messages of each subscription that are not delivered yet, and those whose delivery was given up. The names
-- are those that Pub/Sub has: its dead letters wait in a subscription of their own.
CREATE OR REPLACE FUNCTION transport.count_undelivered() RETURNS TABLE (subscription text, messages bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT regexp_replace(s.name, '^.*/', '') || k.suffix, count(q.message_id)
FROM transport.subscriptions s
CROSS JOIN (VALUES (false, ''), (true, '-dead-letter-sub')) AS k (is_dead, suffix)
LEFT JOIN transport.queue q ON q.subscription = s.name AND q.is_dead = k.is_dead
GROUP BY 1 ORDER BY 1
$$;

-- An erasure reads each message that waits, or that could not be delivered, and takes the learner out of it
-- (progress/operations/queued_messages.py). Return the message that follows this one in the order of the key.
CREATE OR REPLACE FUNCTION transport.read_next(
    INOUT subscription text, INOUT message_id text, OUT message bytea, OUT attributes text
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT q.subscription, q.message_id, q.message, q.attributes FROM transport.queue q
WHERE (q.subscription, q.message_id) > (read_next.subscription, read_next.message_id)
ORDER BY q.subscription, q.message_id LIMIT 1
$$;

CREATE OR REPLACE FUNCTION transport.sessions_of(learner text) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT s.session_id FROM event_store.sessions s WHERE s.user_id = learner
$$;

-- Replace the data of a message; null removes the message. The transport then reads its queue again.
CREATE OR REPLACE FUNCTION transport.replace(subscription text, message_id text, rest bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM transport.queue q
    WHERE rest IS NULL AND (q.subscription, q.message_id) = (replace.subscription, replace.message_id);
    UPDATE transport.queue q SET message = rest
    WHERE rest IS NOT NULL AND (q.subscription, q.message_id) = (replace.subscription, replace.message_id);
    PERFORM pg_notify('transport', '');
END $$;
DROP FUNCTION IF EXISTS transport.forget(text), transport.read(bytea), transport.parse(bytea);
