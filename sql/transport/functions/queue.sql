-- What others than the transport may know of its queue, and the only change that they may make.

-- Count the messages of each subscription that are not delivered yet, and those whose delivery was given up. The names
-- are those that Pub/Sub has: its dead letters wait in a subscription of their own.
CREATE OR REPLACE FUNCTION transport.count_undelivered() RETURNS TABLE (subscription text, messages bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT regexp_replace(s.name, '^.*/', '') || k.suffix, count(q.message_id)
FROM transport.subscriptions s
CROSS JOIN (VALUES (false, ''), (true, '-dead-letter-sub')) AS k (is_dead, suffix)
LEFT JOIN transport.queue q ON q.subscription = s.name AND q.is_dead = k.is_dead
GROUP BY 1 ORDER BY 1
$$;

-- Return the data of a message as text; null if it is none.
CREATE OR REPLACE FUNCTION transport.read(message bytea) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN convert_from(message, 'UTF8');
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END $$;
DROP FUNCTION IF EXISTS transport.parse(bytea);

-- Take a learner who is erased out of the messages that wait, or that could not be delivered. Whose an event is, is
-- decided by the same fields as in a dead letter; if nobody can decode a message, by the id in its bytes. The other
-- events of a list stay. Return the number of these messages. The transport then reads its queue again.
CREATE OR REPLACE FUNCTION transport.forget(learner text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed bigint := 0;
    place   record;
    letter  event_store.dead_letters;
    theirs  integer;
    rest    text;
BEGIN
    FOR place IN
        SELECT q.subscription, q.message_id, q.message, q.attributes FROM transport.queue q
        ORDER BY q.subscription, q.message_id
    LOOP
        letter.attributes := event_store.parse_payload(place.attributes)::jsonb;
        letter.payload := transport.read(place.message);
        letter.indexes := CASE WHEN json_typeof(event_store.parse_payload(letter.payload)) = 'array' THEN '{}' END;
        SELECT count(*) FILTER (WHERE e.is_theirs), '[' || string_agg(e.entry::text, ',' ORDER BY e.n)
            FILTER (WHERE NOT e.is_theirs) || ']'
        INTO theirs, rest
        FROM (
            SELECT i.n, i.entry, CASE
                WHEN event_store.has_fields(i.entry) THEN forget.learner = coalesce(i.learner, (
                    SELECT s.user_id FROM event_store.sessions s WHERE s.session_id = i.session_id))
                WHEN letter.indexes IS NULL THEN strpos(letter.payload, forget.learner) > 0
                ELSE strpos(i.entry::text, forget.learner) > 0 END IS TRUE AS is_theirs
            FROM event_store.entries_of(letter) i
            UNION ALL
            SELECT 0, NULL, position(convert_to(forget.learner, 'UTF8') IN place.message) > 0
            WHERE letter.payload IS NULL  -- its bytes are no text
        ) e;
        CONTINUE WHEN theirs = 0;
        IF letter.indexes IS NULL OR rest IS NULL THEN
            DELETE FROM transport.queue q
            WHERE q.subscription = place.subscription AND q.message_id = place.message_id;
        ELSE
            UPDATE transport.queue q SET message = convert_to(rest, 'UTF8')
            WHERE q.subscription = place.subscription AND q.message_id = place.message_id;
        END IF;
        changed := changed + 1;
    END LOOP;
    IF changed > 0 THEN
        PERFORM pg_notify('transport', '');
    END IF;
    RETURN changed;
END $$;
