-- The events that assign a list to groups are found by this index of rare events.
CREATE INDEX IF NOT EXISTS assignment_events ON event_store.events (hashtext(event_data ->> 'list_id'), stream_id)
    WHERE event_type IN ('ListAssigned', 'ListUnassigned');
