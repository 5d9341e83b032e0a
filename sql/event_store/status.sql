-- The counts of `progress status`, and the version of the server.

-- counts --
SELECT
    (SELECT count(*) FROM event_store.events)  AS events,
    (SELECT count(*) FROM event_store.pending) AS pending,
    (SELECT count(*) FROM event_store.dead_letters
     WHERE replayed_at IS NULL AND discarded_at IS NULL) AS dead_letters,
    (SELECT coalesce(sum(c.conflicts), 0)::bigint FROM event_store.learner_conflicts c
     WHERE c.day > (clock_timestamp() AT TIME ZONE 'UTC')::date - 30) AS learner_conflicts,
    (SELECT coalesce(max(global_position), 0) FROM event_store.events) AS head;

-- oldest pending --
-- For how many seconds the oldest event has waited for its session; 0 if none waits.
SELECT CAST(coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0) AS double precision) AS seconds
FROM event_store.pending;

-- server version --
SELECT current_setting('server_version');
