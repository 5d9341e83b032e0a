-- Statements that report query plans, and that create the dead letters of the benchmark.

-- explain --
-- Send the plan of each statement, with rows and buffers, to the session's client.
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_analyze = on;
SET auto_explain.log_buffers = on;
SET auto_explain.log_timing = off;
SET auto_explain.log_format = json;
SET client_min_messages = log;

-- letters --
-- Create dead letters of kind malformed.
INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message, reason, payload)
SELECT 'malformed', 'bench', n, 0, 'expected an event - at $', repeat('x', 300)
FROM generate_series(1, CAST(:letters AS int)) AS n;
