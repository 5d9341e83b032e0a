-- What as-of answers and snapshots need of the event store.

-- What the catalogue was at a moment, and whether a learner was ever deleted, without a look at the rest of
-- the log: the index alone answers. It costs those events; an append of others only finds that they are none.
CREATE INDEX events_of_items_and_deletions ON event_store.events (stream_id, occurred_at DESC, event_id DESC)
    INCLUDE (event_type, created_at, global_position)
    WHERE event_type IN ('ItemPublished', 'ItemUpdated', 'ItemArchived', 'UserDeleted');

-- A snapshot holds what was folded: it is no start where other events are set aside now.
ALTER TABLE event_store.snapshots
    ADD set_aside bigint[] NOT NULL DEFAULT '{}';  -- positions of the stream's events that it leaves out

-- A deletion takes the learner's snapshots along, a rebuild those of the read models before it; and the project
-- function runs the batch job, too, when an administrator asks for it.
GRANT SELECT, INSERT, DELETE ON event_store.snapshots TO progress_project;
