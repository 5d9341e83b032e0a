-- Create what the search for expensive documents reads.

-- letters --
-- Create dead letters of kind malformed.
INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message, reason, payload)
SELECT 'malformed', 'expensive', n, 0, 'expected an event - at $', repeat('x', 300)
FROM generate_series(1, CAST(:letters AS int)) AS n;
