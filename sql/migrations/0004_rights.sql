-- The least that each function needs, and what an administrator does to letters.

CREATE FUNCTION event_store.set_aside(global_position bigint, error text) RETURNS void
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

-- The opposite, for a `poisoned` letter: the event counts again from the next refold of its
-- learner on. Its position; null if it was not set aside.
CREATE FUNCTION event_store.take_back(letter_id bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH taken AS (
        DELETE FROM event_store.poisoned p USING event_store.dead_letters l
        WHERE l.letter_id = take_back.letter_id AND l.kind = 'poisoned'
          AND l.message_id = 'position-' || p.global_position
        RETURNING p.global_position
    )
    SELECT t.global_position FROM taken t;
END;

CREATE FUNCTION event_store.mark_replayed(letter_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET replayed_at = clock_timestamp()
    WHERE l.letter_id = mark_replayed.letter_id AND l.replayed_at IS NULL;
END;

-- What a replay found this time, kept on the letter.
CREATE FUNCTION event_store.mark_failed(letter_id bigint, kind text, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET kind = mark_failed.kind, reason = mark_failed.reason
    WHERE l.letter_id = mark_failed.letter_id;
END;

CREATE FUNCTION event_store.discard_letter(letter_id bigint, reason text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH discarded AS (
        UPDATE event_store.dead_letters l
        SET discarded_at = clock_timestamp(), discard_reason = discard_letter.reason
        WHERE l.letter_id = discard_letter.letter_id
          AND l.replayed_at IS NULL AND l.discarded_at IS NULL
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM discarded);
END;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA event_store FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA event_store REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT USAGE ON SCHEMA event_store
    TO progress_ingest, progress_project, progress_batch, progress_query, progress_erasure;
GRANT EXECUTE ON FUNCTION event_store.append TO progress_ingest, progress_batch;
GRANT EXECUTE ON FUNCTION event_store.shard_of, event_store.position_at
    TO progress_project, progress_batch, progress_query, progress_erasure;

GRANT SELECT ON event_store.events, event_store.poisoned TO progress_project;
GRANT EXECUTE ON FUNCTION event_store.set_aside TO progress_project, progress_batch;

GRANT SELECT ON event_store.events, event_store.poisoned, event_store.pending,
    event_store.dead_letters, event_store.snapshots TO progress_batch;
GRANT INSERT, UPDATE, DELETE ON event_store.snapshots TO progress_batch;
GRANT EXECUTE ON FUNCTION event_store.mark_replayed, event_store.mark_failed TO progress_batch;

GRANT SELECT ON ALL TABLES IN SCHEMA event_store TO progress_query;
ALTER DEFAULT PRIVILEGES IN SCHEMA event_store GRANT SELECT ON TABLES TO progress_query;

GRANT SELECT, UPDATE, DELETE ON event_store.events, event_store.pending, event_store.sessions,
    event_store.dead_letters, event_store.snapshots TO progress_erasure;

-- Read models: schemas that the project role makes and owns.
DO $$ BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO progress_project', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO progress_query', current_database());
END $$;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT USAGE ON SCHEMAS TO progress_batch, progress_query;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO progress_batch;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT SELECT ON TABLES TO progress_query;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project
    GRANT EXECUTE ON FUNCTIONS TO progress_batch, progress_query;
