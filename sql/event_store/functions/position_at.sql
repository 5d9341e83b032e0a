-- Return the position of the first event recorded at `moment` or later; null if all events are earlier, or `moment` is
-- null. A later position never has an earlier time, so a binary search over the positions works without an index of the
-- times.
CREATE OR REPLACE FUNCTION event_store.position_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    low    bigint := 1;
    high   bigint;      -- the result is in low … high
    middle event_store.events;
BEGIN
    SELECT e.global_position + 1 INTO high
    FROM event_store.events e ORDER BY e.global_position DESC LIMIT 1;
    WHILE low < high LOOP
        SELECT * INTO middle FROM event_store.events e
        WHERE e.global_position >= (low + high) / 2 ORDER BY e.global_position LIMIT 1;
        IF middle.created_at < moment THEN
            low := middle.global_position + 1;
        ELSE
            high := (low + high) / 2;
        END IF;
    END LOOP;
    RETURN (SELECT min(e.global_position) FROM event_store.events e WHERE e.global_position >= low);
END $$;
