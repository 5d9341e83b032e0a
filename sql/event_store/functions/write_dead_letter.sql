-- Write a dead letter for an event, unless the message already has a dead letter for the event's index. If the event
-- did not come from a message, but from append_events or a replay, raise PR001 instead, with the kind as its detail.
CREATE OR REPLACE FUNCTION event_store.write_dead_letter(
    message jsonb, e event_store.incoming_event, kind text, reason text, due_at timestamptz DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF message IS NULL THEN
        RAISE EXCEPTION '%', reason
            USING ERRCODE = 'PR001', DETAIL = kind;
    END IF;
    INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
        index_in_message, event_id, event_type, reason, payload, published_at, due_at)
    VALUES (kind, message ->> 'topic', message ->> 'subscription', message ->> 'message_id',
        e.index, e.event_id, e.event_type, reason,
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.data, 'metadata', e.metadata)::text,
        (message ->> 'published_at')::timestamptz, due_at)
    ON CONFLICT DO NOTHING;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.write_dead_letter FROM PUBLIC;
