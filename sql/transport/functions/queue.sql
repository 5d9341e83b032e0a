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

-- Return the data of a message as JSON; null if it is not JSON.
CREATE OR REPLACE FUNCTION transport.parse(message bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN convert_from(message, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR statement_too_complex THEN
    RETURN NULL;
END $$;

-- Take a learner who is erased out of the messages that wait, or that could not be delivered: the events of a list that
-- have the learner's id as a value or are of a session of the learner, and whatever else has the id in its text. Return
-- the number of these messages. The transport then reads its queue again.
CREATE OR REPLACE FUNCTION transport.forget(learner text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    quoted  text := to_jsonb(learner)::text;
    changed bigint := 0;
    place   record;
    rest    jsonb;
BEGIN
    FOR place IN
        SELECT q.subscription, q.message_id, q.message, q.attributes, q.ordering_key, transport.parse(q.message) AS body
        FROM transport.queue q ORDER BY q.subscription, q.message_id
    LOOP
        CONTINUE WHEN strpos(place.attributes::jsonb::text, quoted) = 0 AND place.ordering_key <> 'learner-' || learner
            AND position(convert_to(learner, 'UTF8') IN place.message) = 0
            AND coalesce(strpos(place.body::text, quoted), 0) = 0
            AND strpos(coalesce(place.body::text, ''), '"session_id"') = 0;
        SELECT jsonb_agg(e.entry ORDER BY e.n) INTO rest
        FROM jsonb_array_elements(
            CASE jsonb_typeof(place.body) WHEN 'array' THEN place.body ELSE jsonb_build_array(place.body) END)
            WITH ORDINALITY AS e (entry, n)
        WHERE place.body IS NOT NULL AND strpos(e.entry::text, quoted) = 0
          AND (jsonb_typeof(e.entry) = 'object' OR strpos(e.entry::text, trim(BOTH '"' FROM quoted)) = 0)
          AND NOT EXISTS (
            SELECT FROM event_store.sessions s
            WHERE s.session_id = e.entry -> 'data' ->> 'session_id' AND s.user_id = learner);
        IF rest IS NULL OR strpos(place.attributes::jsonb::text, quoted) > 0
            OR place.ordering_key = 'learner-' || learner THEN
            DELETE FROM transport.queue q
            WHERE q.subscription = place.subscription AND q.message_id = place.message_id;
        ELSIF jsonb_typeof(place.body) = 'array' AND rest <> place.body THEN
            UPDATE transport.queue q SET message = convert_to(rest::text, 'UTF8')
            WHERE q.subscription = place.subscription AND q.message_id = place.message_id;
        ELSE
            CONTINUE;
        END IF;
        changed := changed + 1;
    END LOOP;
    IF changed > 0 THEN
        PERFORM pg_notify('transport', '');
    END IF;
    RETURN changed;
END $$;
