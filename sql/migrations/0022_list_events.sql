-- Queries about the past read the latest event about a learner's own lists up to a time from this index.
CREATE INDEX IF NOT EXISTS list_events ON event_store.events (stream_id, stream_version)
    INCLUDE (occurred_at, created_at, global_position)
    WHERE event_type IN ('ListPublished', 'ListArchived', 'ItemListed', 'ItemUnlisted');
