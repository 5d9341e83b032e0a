-- Dead letters after the append: an event that makes a fold fail is quarantined; a dead letter is replayed or
-- discarded.

-- Record that an event cannot be folded; all folds skip it from now on. Write a dead letter of kind `poisoned` for the
-- event, or reopen the one that the event already has.
CREATE OR REPLACE FUNCTION event_store.quarantine(global_position bigint, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO event_store.poisoned (global_position, error)
    VALUES (quarantine.global_position, quarantine.error)
    ON CONFLICT DO NOTHING;
    INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message,
        event_id, event_type, reason, payload)
    SELECT 'poisoned', '', 'position-' || e.global_position, 0, e.event_id, e.event_type,
        quarantine.error,
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.event_data, 'metadata', e.metadata)::text
    FROM event_store.events e WHERE e.global_position = quarantine.global_position
    ON CONFLICT (subscription, message_id, index_in_message) DO UPDATE SET
        reason = excluded.reason, received_at = excluded.received_at,
        replayed_at = NULL, discarded_at = NULL, discard_reason = NULL;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.quarantine FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.quarantine TO progress_project, progress_batch;

-- Undo quarantine for a `poisoned` dead letter, so that the next refold of the learner includes the event. Return the
-- event's position; null if the event was not quarantined.
CREATE OR REPLACE FUNCTION event_store.release(letter_id bigint) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH taken AS (
        DELETE FROM event_store.poisoned p USING event_store.dead_letters l
        WHERE l.letter_id = release.letter_id AND l.kind = 'poisoned'
          AND l.message_id = 'position-' || p.global_position
        RETURNING p.global_position
    )
    SELECT t.global_position FROM taken t;
END;

REVOKE EXECUTE ON FUNCTION event_store.release FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.release TO progress_project;

-- Replay a bundle (one dead letter for several faulty entries of a message). In one transaction, record the entries as
-- if the message were delivered again. If the first entry fails again, the bundle's row becomes the dead letter of this
-- entry; otherwise, the row counts as replayed. Return false if the dead letter is not an open bundle, for example
-- after a concurrent replay.
CREATE OR REPLACE FUNCTION event_store.take_apart(letter_id bigint, batch jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    bundle event_store.dead_letters;
    other  event_store.dead_letters;
BEGIN
    -- The append takes this lock before the append lock.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
    -- Take the append lock before any row lock. A redelivery of the message takes both locks in the same order, so that
    -- it cannot deadlock with this function.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

    UPDATE event_store.dead_letters l SET index_in_message = -1    -- the first entry may need the old index
    FROM event_store.dead_letters old
    WHERE l.letter_id = take_apart.letter_id AND old.letter_id = l.letter_id
      AND l.indexes IS NOT NULL AND l.replayed_at IS NULL AND l.discarded_at IS NULL
    RETURNING old.* INTO bundle;
    IF bundle.letter_id IS NULL THEN
        RETURN false;
    END IF;

    PERFORM event_store.append(batch);
    IF EXISTS (
        SELECT FROM jsonb_array_elements(batch -> 'letters') AS l (letter)
        WHERE l.letter ? 'indexes' AND NOT EXISTS (
            SELECT FROM event_store.dead_letters d
            WHERE d.subscription = bundle.subscription AND d.message_id = bundle.message_id
              AND d.index_in_message = (l.letter ->> 'index')::int AND d.indexes = l.letter -> 'indexes'))
    THEN
        RAISE EXCEPTION 'cannot replay bundle %: its remaining entries need the index of another dead letter',
            letter_id;
    END IF;

    DELETE FROM event_store.dead_letters l
    WHERE l.subscription = bundle.subscription AND l.message_id = bundle.message_id
      AND l.index_in_message = bundle.index_in_message
    RETURNING * INTO other;
    IF other.letter_id IS NULL THEN
        UPDATE event_store.dead_letters l
        SET index_in_message = bundle.index_in_message, replayed_at = clock_timestamp()
        WHERE l.letter_id = bundle.letter_id;
    ELSE
        UPDATE event_store.dead_letters l
        SET index_in_message = other.index_in_message, kind = other.kind, event_id = other.event_id,
            event_type = other.event_type, reason = other.reason, payload = other.payload,
            attributes = other.attributes, due_at = other.due_at, indexes = other.indexes,
            emptied_bytes = other.emptied_bytes, emptied_sha256 = other.emptied_sha256
        WHERE l.letter_id = bundle.letter_id;
    END IF;
    RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.take_apart FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.take_apart TO progress_batch, progress_project;

-- Close a dead letter whose replay succeeded.
CREATE OR REPLACE FUNCTION event_store.mark_replayed(letter_id bigint) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET replayed_at = clock_timestamp()
    WHERE l.letter_id = mark_replayed.letter_id AND l.replayed_at IS NULL;
END;

REVOKE EXECUTE ON FUNCTION event_store.mark_replayed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mark_replayed TO progress_batch, progress_project;

-- Store why the replay of a dead letter failed; the dead letter stays open.
CREATE OR REPLACE FUNCTION event_store.mark_failed(letter_id bigint, kind text, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l SET kind = mark_failed.kind, reason = mark_failed.reason
    WHERE l.letter_id = mark_failed.letter_id;
END;

REVOKE EXECUTE ON FUNCTION event_store.mark_failed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mark_failed TO progress_batch, progress_project;

-- Discard the given dead letters that are open; return the number of dead letters discarded.
CREATE OR REPLACE FUNCTION event_store.discard_letters(letter_ids bigint[], reason text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH locked AS (  -- in order, so that concurrent calls cannot deadlock
        SELECT l.letter_id FROM event_store.dead_letters l
        WHERE l.letter_id = ANY (discard_letters.letter_ids) AND l.replayed_at IS NULL AND l.discarded_at IS NULL
        ORDER BY l.letter_id FOR UPDATE
    ), discarded AS (
        UPDATE event_store.dead_letters l
        SET discarded_at = clock_timestamp(), discard_reason = discard_letters.reason
        FROM locked WHERE l.letter_id = locked.letter_id
        RETURNING 1
    )
    SELECT count(*) FROM discarded;
END;

REVOKE EXECUTE ON FUNCTION event_store.discard_letters FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.discard_letters TO progress_query;
