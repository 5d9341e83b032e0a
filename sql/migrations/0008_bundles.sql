-- The bundle: one letter for all of a message's faulty entries after the first 999.

ALTER TABLE event_store.dead_letters
    ADD indexes jsonb;       -- of a bundle: where its entries stood, [[first, last], …]; payload is their array

CREATE OR REPLACE FUNCTION event_store.take_letters(letters jsonb, messages jsonb, OUT outcomes jsonb, OUT shards smallint[])
LANGUAGE plpgsql AS $$
BEGIN
    WITH arrived AS MATERIALIZED (
        SELECT l.*, messages -> l.message AS sender, stored.shard AS stored_in
        FROM jsonb_to_recordset(letters) AS l(n int, message int, index int, kind text,
            event_id text, event_type text, reason text, payload text, attributes jsonb,
            id uuid, stored_type text, occurred_at timestamptz, data jsonb, metadata jsonb,
            learner text, indexes jsonb)
        LEFT JOIN LATERAL (
            SELECT s.shard FROM event_store.events s
            WHERE s.event_id = l.id
              AND event_store.same_content(l.stored_type, l.data, l.occurred_at, l.metadata,
                    s.event_type, s.event_data, s.occurred_at, s.metadata)
              AND (l.learner IS NULL OR s.stream_id NOT LIKE 'learner-%'
                    OR s.stream_id = 'learner-' || l.learner)
            OFFSET 0
        ) stored ON true
    ), written AS (
        INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
            index_in_message, event_id, event_type, reason, payload, attributes, indexes, published_at)
        SELECT a.kind, a.sender ->> 'topic', a.sender ->> 'subscription',
            a.sender ->> 'message_id', a.index, a.event_id, a.event_type, a.reason, a.payload,
            a.attributes, a.indexes, (a.sender ->> 'published_at')::timestamptz
        FROM arrived a WHERE a.stored_in IS NULL
        ORDER BY a.n
        ON CONFLICT DO NOTHING
    )
    SELECT jsonb_object_agg(counted.outcome, counted.count),
        ARRAY(SELECT DISTINCT a.stored_in FROM arrived a WHERE a.stored_in IS NOT NULL)
    INTO outcomes, shards
    FROM (SELECT CASE WHEN a.stored_in IS NULL THEN a.kind ELSE 'redelivered' END AS outcome, count(*)
          FROM arrived a GROUP BY 1) counted;
END $$;

-- Replays a bundle: records its entries once more as a delivery of their message, in one transaction. Its row
-- becomes the letter of its first entry, or counts as replayed where that entry makes none. False where the letter
-- is no open bundle: another replay was faster.
CREATE FUNCTION event_store.take_apart(letter_id bigint, batch jsonb) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    bundle event_store.dead_letters;
    other  event_store.dead_letters;
BEGIN
    -- As the append does it, and before any row is locked: who delivers the message again holds it, too.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

    UPDATE event_store.dead_letters l SET index_in_message = -1    -- its place is free for its first entry
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
        RAISE EXCEPTION 'expected no other letter in the place of the rest of bundle %', letter_id;
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
            attributes = other.attributes, due_at = other.due_at, indexes = other.indexes
        WHERE l.letter_id = bundle.letter_id;
    END IF;
    RETURN true;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.take_apart FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.take_apart TO progress_batch, progress_project;
