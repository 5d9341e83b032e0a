-- Record an event that record_event did not append: its id is already used, its time is in the future, its session
-- belongs to another learner, or its learner is not known yet. The first check that applies decides the outcome.
CREATE OR REPLACE FUNCTION event_store.record_special_case(
    e event_store.incoming_event, owner text, stream text, message jsonb
) RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM event_store.events s WHERE s.event_id = e.event_id)
       OR EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    THEN
        RETURN event_store.record_known_id(e, coalesce(e.learner, owner), stream, message);
    END IF;
    IF e.occurred_at > clock_timestamp() + interval '10 minutes' THEN
        PERFORM event_store.write_dead_letter(message, e, 'future',
            'expected a time at most 10 minutes ahead of the clock - at $.occurred_at',
            e.occurred_at - interval '10 minutes');
        RETURN ('future', '{}')::event_store.append_result;
    END IF;
    IF stream IS NOT NULL THEN
        PERFORM event_store.write_dead_letter(message, e, 'session_owner',
            'expected the learner of the session''s first SessionStarted - at $.data.user_id');
        RETURN ('session_owner', '{}')::event_store.append_result;
    END IF;
    INSERT INTO event_store.pending
        (event_id, session_id, event_type, event_data, metadata, occurred_at)
    VALUES (e.event_id, e.session_id, e.event_type, e.data, e.metadata, e.occurred_at);
    RETURN ('pending', '{}')::event_store.append_result;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_special_case FROM PUBLIC;
