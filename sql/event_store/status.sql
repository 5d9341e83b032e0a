-- The counts of `progress status`, and the version of the server.

-- counts --
SELECT
    (SELECT count(*) FROM event_store.events)  AS events,
    (SELECT count(*) FROM event_store.pending) AS pending,
    (SELECT count(*) FROM event_store.dead_letters
     WHERE replayed_at IS NULL AND discarded_at IS NULL) AS dead_letters,
    (SELECT coalesce(max(global_position), 0) FROM event_store.events) AS head;

-- server version --
SELECT current_setting('server_version');
