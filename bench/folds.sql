-- Events to retract.

-- ids --
SELECT CAST(event_id AS text)
FROM event_store.events
WHERE stream_id = 'learner-' || :learner AND event_type = :type
ORDER BY stream_version
LIMIT CAST(:count AS int)
OFFSET CAST(:first AS int);
