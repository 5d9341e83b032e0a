-- The number of days by which an import shifted a log. It is stored in the metadata of the learner's UserCreated.

-- accounts --
-- The UserCreated events of a learner, oldest first; the shift in days is null if the log was imported unchanged.
SELECT event_id, CAST(metadata ->> 'shifted_days' AS integer), event_data ->> 'timezone'
FROM event_store.events
WHERE stream_id = :stream_id AND event_type = 'UserCreated'
ORDER BY stream_version;
