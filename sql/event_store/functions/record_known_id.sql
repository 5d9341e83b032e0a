-- Record an event whose id is already used: a redelivery, a pending event whose learner is known now, or a conflict.
CREATE OR REPLACE FUNCTION event_store.record_known_id(
    e event_store.incoming_event, learner_id text, stream text, message jsonb
) RETURNS event_store.append_result
LANGUAGE plpgsql AS $$
DECLARE
    stored  event_store.events;
    waiting event_store.pending;
    shards  smallint[];          -- the shard of the stored event; empty while the event is pending
BEGIN
    SELECT * INTO stored FROM event_store.events s WHERE s.event_id = e.event_id;
    shards := array_remove(ARRAY[stored.shard], NULL);
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
       AND (learner_id IS NULL OR stored.stream_id = stream OR stored.stream_id NOT LIKE 'learner-%')
    THEN
        RETURN ('redelivered', shards)::event_store.append_result;
    END IF;
    SELECT * INTO waiting FROM event_store.pending p WHERE p.event_id = e.event_id;
    IF event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           waiting.event_type, waiting.event_data, waiting.occurred_at, waiting.metadata)
    THEN
        IF learner_id IS NULL THEN
            RETURN ('redelivered', shards)::event_store.append_result;
        END IF;
        PERFORM event_store.release_pending(stream, ARRAY[waiting.event_id]);
        RETURN ('appended', ARRAY[event_store.shard_of(stream)])::event_store.append_result;
    END IF;
    PERFORM event_store.write_dead_letter(message, e, 'conflict',
        'expected the same content as the first event with this event_id - at $.event_id');
    RETURN ('conflict', shards)::event_store.append_result;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_known_id FROM PUBLIC;
