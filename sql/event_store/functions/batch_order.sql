-- Return a number that orders the events of a batch; an event without `message` counts as part of the first message.
CREATE OR REPLACE FUNCTION event_store.batch_order(message integer, index integer) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN (coalesce(message, 0)::bigint << 32) + index;

REVOKE EXECUTE ON FUNCTION event_store.batch_order FROM PUBLIC;
