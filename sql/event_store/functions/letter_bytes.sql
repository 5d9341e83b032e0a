-- The bytes of the open dead letters, in all and of each sender (table letter_bytes), and their bounds.

-- Return the most bytes that open dead letters hold: in all, and those of one sender.
CREATE OR REPLACE FUNCTION event_store.most_letter_bytes(OUT of_all bigint, OUT of_one bigint)
LANGUAGE sql IMMUTABLE
RETURN (1073741824::bigint, 104857600::bigint);

-- Return the bytes that a letter counts: those of its payload, and 512 for its row and index entries. A post of 2 KB
-- may leave 999 letters of one byte.
CREATE OR REPLACE FUNCTION event_store.letter_size(payload text) RETURNS bigint
LANGUAGE sql IMMUTABLE
RETURN octet_length(payload) + 512;

-- Trigger function: add what a statement has changed. The letters of poisoned events do not count: nobody sent them.
CREATE OR REPLACE FUNCTION event_store.count_letter_bytes() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO event_store.letter_bytes (poster, bytes)
        SELECT coalesce(l.poster, l.subscription), sum(event_store.letter_size(l.payload))
        FROM new_letters l
        WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
        GROUP BY 1;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO event_store.letter_bytes (poster, bytes)
        SELECT coalesce(l.poster, l.subscription), -sum(event_store.letter_size(l.payload))
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
    SELECT coalesce(l.poster, l.subscription), sum(event_store.letter_size(l.payload))
    FROM event_store.dead_letters l
    WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
    GROUP BY 1;
END $$;

-- Raise PR002, because a sender has so many bytes of letters, or all have too many.
CREATE OR REPLACE FUNCTION event_store.refuse_letters(poster text, bytes numeric) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    most record;
BEGIN
    SELECT * INTO most FROM event_store.most_letter_bytes();
    RAISE EXCEPTION 'expected at most % MiB of open dead letters: an administrator replays or discards some first, '
        'with progress dead-letters …%',
        CASE WHEN bytes > most.of_one THEN most.of_one ELSE most.of_all END >> 20,
        CASE WHEN bytes > most.of_one THEN ' --poster ' || quote_literal(poster) ELSE '' END
        USING ERRCODE = 'PR002';
END $$;

-- Raise PR002 if these letters would exceed a bound, before anything is written for them: what is undone takes space
-- until it is vacuumed, and a sender who ignores the refusal would fill the disk. check_letter_bytes decides finally.
CREATE OR REPLACE FUNCTION event_store.expect_space(letters jsonb, messages jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM event_store.refuse_letters(s.poster, s.bytes)
    FROM (
        SELECT b.poster, sum(b.bytes) AS bytes, sum(sum(b.bytes)) OVER () AS bytes_of_all, bool_or(b.is_new) AS adds
        FROM (
            SELECT poster, bytes, false AS is_new FROM event_store.letter_bytes
            UNION ALL
            SELECT coalesce(
                    encode(event_store.erasure_digest(n.source ->> 'poster'), 'hex'), n.source ->> 'subscription'),
                n.bytes, true
            FROM (
                SELECT a.source, sum(a.bytes) AS bytes
                FROM (
                    SELECT m.source,
                        event_store.letter_size(coalesce('[' || array_to_string(l.texts, ',') || ']', l.payload))
                    FROM jsonb_to_recordset(letters) AS l (message integer, index integer, payload text, texts text[])
                    CROSS JOIN LATERAL (SELECT messages -> coalesce(l.message, 0) AS source) m
                    WHERE NOT EXISTS (
                        SELECT FROM event_store.dead_letters d
                        WHERE d.subscription = m.source ->> 'subscription'
                          AND d.message_id = m.source ->> 'message_id' AND d.index_in_message = l.index)
                    UNION ALL  -- what later parts of a delivery may need
                    SELECT m.source, (m.source ->> 'reserve')::bigint
                    FROM jsonb_array_elements(messages) AS m (source) WHERE m.source ? 'reserve'
                ) a (source, bytes)
                GROUP BY a.source
            ) n
        ) b
        GROUP BY b.poster
    ) s, event_store.most_letter_bytes() most
    WHERE s.adds AND (s.bytes > most.of_one OR s.bytes_of_all > most.of_all)
    ORDER BY s.bytes DESC LIMIT 1;
END $$;

-- Raise PR002 if this transaction adds letters above a bound. Otherwise, merge the rows of each sender. The caller
-- holds the lock of the append.
CREATE OR REPLACE FUNCTION event_store.check_letter_bytes() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM event_store.refuse_letters(s.poster, s.bytes)
    FROM (
        SELECT b.poster, sum(b.bytes) AS bytes, sum(sum(b.bytes)) OVER () AS bytes_of_all,
            sum(b.bytes) FILTER (WHERE b.xmin = pg_current_xact_id()::xid) AS added
        FROM event_store.letter_bytes b GROUP BY b.poster
    ) s, event_store.most_letter_bytes() most
    WHERE s.added > 0 AND (s.bytes > most.of_one OR s.bytes_of_all > most.of_all)
    ORDER BY s.bytes DESC LIMIT 1;
    WITH former AS (
        DELETE FROM event_store.letter_bytes b RETURNING b.*
    )
    INSERT INTO event_store.letter_bytes (poster, bytes)
    SELECT f.poster, sum(f.bytes) FROM former f GROUP BY f.poster HAVING sum(f.bytes) <> 0;
END $$;
