-- The number of days by which an import moved the times of a review log. The metadata of the learner's UserCreated
-- contains this number.

-- accounts --
-- The UserCreated events of a learner, oldest first. The number of days is null if the import did not move the times.
SELECT event_id, CAST(metadata ->> 'shifted_days' AS integer), event_data ->> 'timezone'
FROM event_store.events
WHERE stream_id = :stream_id AND event_type = 'UserCreated'
ORDER BY stream_version;
