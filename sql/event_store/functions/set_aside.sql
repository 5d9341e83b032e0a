-- Record that an event cannot be folded; all folds skip it from now on. Write a dead letter of kind `poisoned` for the
-- event, or reopen the one that the event already has.
CREATE OR REPLACE FUNCTION event_store.set_aside(global_position bigint, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO event_store.poisoned (global_position, error)
    VALUES (set_aside.global_position, set_aside.error)
    ON CONFLICT DO NOTHING;
    INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message,
        event_id, event_type, reason, payload)
    SELECT 'poisoned', '', 'position-' || e.global_position, 0, e.event_id, e.event_type,
        set_aside.error,
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.event_data, 'metadata', e.metadata)::text
    FROM event_store.events e WHERE e.global_position = set_aside.global_position
    ON CONFLICT (subscription, message_id, index_in_message) DO UPDATE SET
        reason = excluded.reason, received_at = excluded.received_at,
        replayed_at = NULL, discarded_at = NULL, discard_reason = NULL;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.set_aside FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.set_aside TO progress_project, progress_batch;
