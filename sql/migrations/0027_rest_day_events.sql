-- Which event gave a learner a rest day is found by this index of rare events.
CREATE INDEX IF NOT EXISTS rest_day_events ON event_store.events (stream_id) WHERE event_type = 'RestDayTaken';
