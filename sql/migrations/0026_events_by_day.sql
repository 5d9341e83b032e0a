-- The events of a learner's day are found by this index. It is small: it has a hash of the stream, and the events of
-- one day share an entry.
CREATE INDEX IF NOT EXISTS events_by_day ON event_store.events
    (hashtext(stream_id), (CAST(occurred_at AT TIME ZONE 'UTC' AS date)));
