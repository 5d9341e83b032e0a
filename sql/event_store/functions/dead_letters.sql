-- Dead letters after the append: an event that makes a fold fail is poisoned; a dead letter is replayed or
-- discarded.

-- Return the reason of the dead letter of a poisoned event: each error, with the fingerprints of the folds that failed
-- with it. Folds of version 0.3 and before have no fingerprint here. Null if no read models leave the event out.
CREATE OR REPLACE FUNCTION event_store.poison_reason(global_position bigint) RETURNS text
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT string_agg(r.reason, '; ' ORDER BY r.place, r.reason)
    FROM (
        SELECT 0 AS place, p.error AS reason
        FROM event_store.poisoned p WHERE p.global_position = poison_reason.global_position
        UNION
        SELECT 0, m.error
        FROM event_store.poison_marks m
        WHERE m.global_position = poison_reason.global_position AND m.fingerprint = ''
        UNION ALL
        SELECT 1, m.error || ' (folds ' || string_agg(m.fingerprint, ', ' ORDER BY m.fingerprint) || ')'
        FROM event_store.poison_marks m
        WHERE m.global_position = poison_reason.global_position AND m.fingerprint <> ''
          AND m.fingerprint NOT LIKE '%\_building'
        GROUP BY m.error
    ) r;
END;

-- Give the dead letters of poisoned events the reasons of the marks that are left; close those without a mark, because
-- every schema counts their events. Whoever writes a mark writes the letter afterwards: the second statement sees the
-- marks of those for whom the first one has waited, and others open the letter again.
CREATE OR REPLACE FUNCTION event_store.renew_poisoned_letters(positions bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM event_store.dead_letters l
    WHERE l.subscription = '' AND l.message_id = ANY (SELECT 'position-' || p FROM unnest(positions) p)
    ORDER BY l.letter_id FOR UPDATE;

    UPDATE event_store.dead_letters l
    SET reason = coalesce(r.reason, l.reason), replayed_at = CASE WHEN r.reason IS NULL THEN clock_timestamp() END
    FROM unnest(positions) AS p (position)
    CROSS JOIN LATERAL (SELECT event_store.poison_reason(p.position) AS reason) r
    WHERE l.subscription = '' AND l.message_id = 'position-' || p.position AND l.kind = 'poisoned'
      AND l.replayed_at IS NULL AND l.discarded_at IS NULL;
END $$;

-- Write a dead letter of kind `poisoned` for an event, or reopen the one that the event already has.
CREATE OR REPLACE FUNCTION event_store.write_poisoned_letter(global_position bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO event_store.dead_letters (kind, subscription, message_id, index_in_message,
        event_id, event_type, reason, owners, payload)
    SELECT 'poisoned', '', 'position-' || e.global_position, 0, e.event_id, e.event_type, '',
        event_store.stored_owners(ARRAY[CASE WHEN e.stream_id LIKE 'learner-%'
            THEN 'learner:' || substr(e.stream_id, length('learner-') + 1) ELSE 'nobody' END]),
        jsonb_build_object('event_id', e.event_id, 'event_type', e.event_type,
            'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', e.event_data, 'metadata', e.metadata)::text
    FROM event_store.events e WHERE e.global_position = write_poisoned_letter.global_position
    ON CONFLICT (subscription, message_id, index_in_message) DO UPDATE SET
        received_at = excluded.received_at, owners = excluded.owners, replayed_at = NULL, discarded_at = NULL,
        discard_reason = NULL;
    PERFORM event_store.renew_poisoned_letters(ARRAY[global_position]);
END $$;

-- Record that folds with this fingerprint cannot fold an event. They skip it from now on; other folds do not.
CREATE OR REPLACE FUNCTION event_store.mark_poisoned(fingerprint text, global_position bigint, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO event_store.poison_marks (fingerprint, global_position, error)
    VALUES (mark_poisoned.fingerprint, mark_poisoned.global_position, mark_poisoned.error)
    ON CONFLICT DO NOTHING;
    PERFORM event_store.write_poisoned_letter(mark_poisoned.global_position);
END $$;

-- Give the marks that stood before version 0.4 to a new schema's folds, unless an earlier schema has taken them.
CREATE OR REPLACE FUNCTION event_store.adopt_marks(fingerprint text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    positions bigint[];
BEGIN
    WITH copied AS (
        DELETE FROM event_store.poison_marks m WHERE m.fingerprint = '' RETURNING m.*
    ), adopted AS (
        INSERT INTO event_store.poison_marks (fingerprint, global_position, error, quarantined_at)
        SELECT adopt_marks.fingerprint, c.global_position, c.error, c.quarantined_at FROM copied c
        ON CONFLICT DO NOTHING
    )
    SELECT array_agg(c.global_position) INTO positions FROM copied c;
    PERFORM event_store.renew_poisoned_letters(positions);
END $$;

-- Return whether there are read models of version 0.3 or before, which have no view `poisoned_events`.
CREATE OR REPLACE FUNCTION event_store.has_former_schema() RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT EXISTS (
        SELECT FROM pg_namespace n
        WHERE n.nspname ~ '^progress_[0-9a-f]{12}(_building|_retired)?$'
          AND NOT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'poisoned_events'));
END;

-- Return whether there are read models with this fingerprint; true for marks that the next ones adopt.
CREATE OR REPLACE FUNCTION event_store.has_schema(fingerprint text) RETURNS boolean
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT has_schema.fingerprint = '' OR EXISTS (
        SELECT FROM pg_namespace n
        WHERE n.nspname ~ ('^progress_' || has_schema.fingerprint || '(_building|_retired)?$'));
END;

-- Remove the marks of these folds from the event of a `poisoned` dead letter, and the marks that no read models have
-- any more. Return the event's position, which the caller must refold; null if these folds had no mark. If read models
-- with this fingerprint are being built, a mark with the fingerprint `…_building` lets their swap refold the event.
CREATE OR REPLACE FUNCTION event_store.clear_marks(letter_id bigint, fingerprint text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at      bigint := (
        SELECT substr(l.message_id, 10)::bigint   -- for example `position-12`
        FROM event_store.dead_letters l WHERE l.letter_id = clear_marks.letter_id AND l.kind = 'poisoned');
    cleared bigint;
BEGIN
    DELETE FROM event_store.poison_marks m WHERE m.global_position = at AND m.fingerprint = clear_marks.fingerprint
    RETURNING m.global_position INTO cleared;
    INSERT INTO event_store.poison_marks (fingerprint, global_position, error)
    SELECT substr(n.nspname, 10), cleared, 'replayed'
    FROM pg_namespace n
    WHERE cleared IS NOT NULL AND n.nspname = 'progress_' || clear_marks.fingerprint || '_building'
    ON CONFLICT DO NOTHING;
    DELETE FROM event_store.poison_marks m WHERE m.global_position = at AND NOT event_store.has_schema(m.fingerprint);
    DELETE FROM event_store.poisoned p WHERE p.global_position = at AND NOT event_store.has_former_schema();
    PERFORM event_store.renew_poisoned_letters(ARRAY[at]);
    RETURN cleared;
END $$;

-- Drop the marks of folds that have no schema any more, and close the dead letters that have no mark left.
CREATE OR REPLACE FUNCTION event_store.drop_orphaned_marks() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    positions bigint[];
BEGIN
    WITH dropped AS (
        DELETE FROM event_store.poison_marks m
        WHERE NOT event_store.has_schema(m.fingerprint)
        RETURNING m.global_position
    ), former AS (
        DELETE FROM event_store.poisoned p WHERE NOT event_store.has_former_schema() RETURNING p.global_position
    )
    SELECT array_agg(d.global_position) INTO positions
    FROM (SELECT * FROM dropped UNION SELECT * FROM former) d;
    PERFORM event_store.renew_poisoned_letters(positions);
END $$;

-- The read models of version 0.3, and its workers, call these two functions, which work as they did: `quarantine` marks
-- an event for all schemas of that version and before, and `release` removes the mark.
CREATE OR REPLACE FUNCTION event_store.quarantine(global_position bigint, error text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO event_store.poisoned (global_position, error)
    VALUES (quarantine.global_position, quarantine.error)
    ON CONFLICT DO NOTHING;
    PERFORM event_store.write_poisoned_letter(quarantine.global_position);
END $$;

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

    PERFORM event_store.append(batch || '{"is_replay": true}');
    UPDATE event_store.dead_letters l
    SET poster = bundle.poster, received_at = least(l.received_at, bundle.received_at)
    WHERE l.subscription = bundle.subscription AND l.message_id = bundle.message_id
      AND (l.poster IS DISTINCT FROM bundle.poster OR l.received_at > bundle.received_at);
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
            attributes = other.attributes, due_at = other.due_at, indexes = other.indexes, owners = other.owners
        WHERE l.letter_id = bundle.letter_id;
    END IF;
    RETURN true;
END $$;

-- Close a dead letter whose replay succeeded. That of a poisoned event stays open while any folds leave the event out:
-- those of version 0.3, which call this function for it, do not know the marks of others.
CREATE OR REPLACE FUNCTION event_store.mark_replayed(letter_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    letter event_store.dead_letters;
BEGIN
    SELECT * INTO letter FROM event_store.dead_letters l WHERE l.letter_id = mark_replayed.letter_id;
    IF letter.kind = 'poisoned' THEN
        PERFORM event_store.renew_poisoned_letters(ARRAY[substr(letter.message_id, 10)::bigint]);
    ELSE
        UPDATE event_store.dead_letters l SET replayed_at = clock_timestamp()
        WHERE l.letter_id = mark_replayed.letter_id AND l.replayed_at IS NULL;
    END IF;
END $$;

-- Store why the replay of a dead letter failed; the dead letter stays open. Only one about the future is due again.
CREATE OR REPLACE FUNCTION event_store.mark_failed(letter_id bigint, kind text, reason text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l
    SET kind = mark_failed.kind, reason = mark_failed.reason,
        due_at = CASE WHEN mark_failed.kind = 'future' THEN l.due_at END
    WHERE l.letter_id = mark_failed.letter_id;
END;

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
