-- The bytes of the open dead letters' payloads, in all and of each sender (table letter_bytes), and their bounds.

-- Return the most bytes that open dead letters hold: in all, and those of one sender.
CREATE OR REPLACE FUNCTION event_store.most_letter_bytes(OUT of_all bigint, OUT of_one bigint)
LANGUAGE sql IMMUTABLE
RETURN (1073741824::bigint, 104857600::bigint);

-- Trigger function: add what a statement has changed. The letters of poisoned events do not count: nobody sent them.
CREATE OR REPLACE FUNCTION event_store.count_letter_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO event_store.letter_bytes (poster, bytes)
        SELECT coalesce(l.poster, l.subscription), sum(octet_length(l.payload))
        FROM new_letters l
        WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
        GROUP BY 1;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO event_store.letter_bytes (poster, bytes)
        SELECT coalesce(l.poster, l.subscription), -sum(octet_length(l.payload))
        FROM old_letters l
        WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
        GROUP BY 1;
    END IF;
    RETURN NULL;
END $$;

-- Compute the sums anew. The lock keeps letters from being written meanwhile.
CREATE OR REPLACE FUNCTION event_store.count_all_letter_bytes() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE event_store.dead_letters IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM event_store.letter_bytes;
    INSERT INTO event_store.letter_bytes (poster, bytes)
    SELECT coalesce(l.poster, l.subscription), sum(octet_length(l.payload))
    FROM event_store.dead_letters l
    WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
    GROUP BY 1;
END $$;

-- Raise PR002 if this transaction adds letters above a bound. Otherwise, merge the rows of each sender. The caller
-- holds the lock of the append.
CREATE OR REPLACE FUNCTION event_store.check_letter_bytes() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    most  record;
    above record;
BEGIN
    SELECT * INTO most FROM event_store.most_letter_bytes();
    SELECT s.* INTO above
    FROM (
        SELECT b.poster, sum(b.bytes) AS bytes, sum(sum(b.bytes)) OVER () AS bytes_of_all,
            sum(b.bytes) FILTER (WHERE b.xmin = pg_current_xact_id()::xid) AS added
        FROM event_store.letter_bytes b GROUP BY b.poster
    ) s
    WHERE s.added > 0 AND (s.bytes > most.of_one OR s.bytes_of_all > most.of_all)
    ORDER BY s.bytes DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'expected at most % MiB of open dead letters: an administrator replays or discards some first, '
            'with progress dead-letters …%',
            CASE WHEN above.bytes > most.of_one THEN most.of_one ELSE most.of_all END >> 20,
            CASE WHEN above.bytes > most.of_one THEN ' --poster ' || quote_literal(above.poster) ELSE '' END
            USING ERRCODE = 'PR002';
    END IF;
    WITH former AS (
        DELETE FROM event_store.letter_bytes b RETURNING b.*
    )
    INSERT INTO event_store.letter_bytes (poster, bytes)
    SELECT f.poster, sum(f.bytes) FROM former f GROUP BY f.poster HAVING sum(f.bytes) <> 0;
END $$;

