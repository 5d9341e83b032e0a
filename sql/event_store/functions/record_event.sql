-- Record one event. Each expression and each statement here slows the append of a single event by 1 to 5 %. So one
-- statement both checks and appends the event. record_special_case handles every event that this statement does not
-- append.
--
-- record_batch must give the same rows and outcomes: see the comment in record_batch.sql.
CREATE OR REPLACE FUNCTION event_store.record_event(e event_store.incoming_event, message jsonb)
RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
DECLARE
    owner  text;                 -- the session's learner
    stream text;
    head   record;
    shard  smallint;
BEGIN
    IF e.learner IS NULL OR e.event_type = 'SessionStarted' THEN
        SELECT s.user_id INTO owner FROM event_store.sessions s WHERE s.session_id = e.session_id;
        IF owner <> e.learner THEN
            RETURN event_store.record_special_case(e, owner, 'learner-' || e.learner, message);
        END IF;
    END IF;
    stream := coalesce('learner-' || coalesce(e.learner, owner), e.stream_id);
    SELECT h.global_position, h.created_at INTO head
    FROM event_store.events h ORDER BY h.global_position DESC LIMIT 1;
    INSERT INTO event_store.events AS appended
    SELECT coalesce(head.global_position, 0) + 1, e.event_id, stream,
        coalesce((SELECT s.stream_version FROM event_store.events s WHERE s.stream_id = stream
                  ORDER BY s.stream_version DESC LIMIT 1), 0) + 1,
        e.event_type, e.data, e.metadata, e.occurred_at, greatest(clock_timestamp(), head.created_at),
        event_store.shard_of(stream)
    WHERE stream IS NOT NULL
      AND e.occurred_at <= clock_timestamp() + interval '10 minutes'
      AND NOT EXISTS (SELECT FROM event_store.pending p WHERE p.event_id = e.event_id)
    ON CONFLICT (event_id) DO NOTHING
    RETURNING appended.shard INTO shard;
    IF shard IS NULL THEN
        RETURN event_store.record_special_case(e, owner, stream, message);
    END IF;
    IF owner IS NULL AND e.event_type = 'SessionStarted' THEN
        INSERT INTO event_store.sessions VALUES (e.session_id, e.learner);
        PERFORM event_store.release_pending(stream, ARRAY(
            SELECT p.event_id FROM event_store.pending p WHERE p.session_id = e.session_id));
    END IF;
    RETURN ('appended', ARRAY[shard])::event_store.append_result;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_event FROM PUBLIC;
