-- Store the digest of the learner's id, so that from now on the append drops events of the learner. Append a
-- UserDeleted, unless the learner has no events or already has a UserDeleted that is not poisoned. Return the digest
-- and the time of the erasure. A repeated call for the same operation changes nothing.
CREATE OR REPLACE FUNCTION event_store.forbid_learner(
    learner text, operation_id uuid,
    OUT digest bytea, OUT erased_at timestamptz, OUT token_count integer, OUT tokens_digest bytea
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    deletion event_store.incoming_event;
    tokens   text[] := event_store.tokens(learner);
BEGIN
    -- Wait for the appends that judge dead letters. Appends take both locks in the same order.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.erased', 0));
    -- Take the append's lock, so that earlier appends are complete, and later appends read the digest.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    digest := event_store.erasure_digest(learner);
    token_count := cardinality(tokens);
    IF tokens <> ARRAY[learner] THEN
        tokens_digest := event_store.erasure_digest(array_to_string(tokens, ' '));
    END IF;
    IF EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || learner) AND NOT EXISTS (
        SELECT FROM event_store.events e
        WHERE e.stream_id = 'learner-' || learner AND e.event_type = 'UserDeleted'
          AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position))
    THEN
        deletion.event_id := gen_random_uuid();
        deletion.event_type := 'UserDeleted';
        deletion.occurred_at := clock_timestamp();
        deletion.data := jsonb_build_object('user_id', learner);
        deletion.metadata := '{}';
        deletion.learner := learner;
        PERFORM event_store.record_event(deletion, NULL);
    END IF;
    INSERT INTO event_store.erased AS x (digest, operation_id, token_count, tokens_digest)
    VALUES (forbid_learner.digest, forbid_learner.operation_id, forbid_learner.token_count,
        forbid_learner.tokens_digest)
    ON CONFLICT ON CONSTRAINT erased_pkey DO UPDATE SET operation_id = excluded.operation_id,
        token_count = excluded.token_count, tokens_digest = excluded.tokens_digest
    RETURNING x.erased_at INTO forbid_learner.erased_at;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.forbid_learner FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.forbid_learner TO progress_project;
