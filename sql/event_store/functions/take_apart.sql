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
