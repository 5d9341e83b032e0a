-- Retractions: an EventRetracted takes another event of its learner out of every number.

-- Return the event_id of an event that was published with this id: a UUID as it is, and any other text of 1 to 200
-- characters as its UUIDv5 in the OID namespace (RFC 9562, section 5.5). Return null for other texts. The index below
-- stores the results, so this function must never change. PostgreSQL has no SHA-1 without an extension, so the function
-- computes it (FIPS 180-4, section 6.1).
CREATE FUNCTION event_store.event_uuid(id text) RETURNS uuid LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $uuid$
DECLARE
    hashed  bytea;
    h       bigint[] := ARRAY[1732584193, 4023233417, 2562383102, 271733878, 3285377520];
    v       bigint[];                 -- the working variables a, b, c, d, e
    w       bigint[];
    mixed   bigint;
    digest  text := '';
    mask    CONSTANT bigint := 4294967295;
BEGIN
    IF id ~ '^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$' THEN
        RETURN id::uuid;
    END IF;
    IF length(id) NOT BETWEEN 1 AND 200 THEN
        RETURN NULL;
    END IF;
    hashed := decode('6ba7b8129dad11d180b400c04fd430c8', 'hex') || convert_to(id, 'UTF8');
    hashed := hashed || '\x80'::bytea || decode(repeat('00', (119 - length(hashed) % 64) % 64), 'hex')
        || int8send(8 * length(hashed));
    FOR block IN 0 .. length(hashed) / 64 - 1 LOOP
        FOR t IN 0 .. 79 LOOP
            mixed := CASE WHEN t < 16
                THEN ('x' || encode(substr(hashed, 64 * block + 4 * t + 1, 4), 'hex'))::bit(32)::bigint
                ELSE w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16] END;
            w[t] := CASE WHEN t < 16 THEN mixed ELSE ((mixed << 1) | (mixed >> 31)) & mask END;
        END LOOP;
        v := h;
        FOR t IN 0 .. 79 LOOP
            mixed := CASE
                WHEN t < 20 THEN ((v[2] & v[3]) | (~v[2] & mask & v[4])) + 1518500249
                WHEN t < 40 THEN (v[2] # v[3] # v[4]) + 1859775393
                WHEN t < 60 THEN ((v[2] & v[3]) | (v[2] & v[4]) | (v[3] & v[4])) + 2400959708
                ELSE (v[2] # v[3] # v[4]) + 3395469782 END;
            mixed := ((((v[1] << 5) | (v[1] >> 27)) & mask) + mixed + v[5] + w[t]) & mask;
            v := ARRAY[mixed, v[1], ((v[2] << 30) | (v[2] >> 2)) & mask, v[3], v[4]];
        END LOOP;
        FOR n IN 1 .. 5 LOOP
            h[n] := (h[n] + v[n]) & mask;
        END LOOP;
    END LOOP;
    FOR n IN 1 .. 4 LOOP
        digest := digest || lpad(to_hex(h[n]), 8, '0');
    END LOOP;
    -- The version, and the variant in the two highest bits.
    RETURN overlay(overlay(digest PLACING '5' FROM 13)
        PLACING to_hex(('x' || substr(digest, 17, 1))::bit(4)::int & 3 | 8) FROM 17)::uuid;
END
$uuid$;
REVOKE EXECUTE ON FUNCTION event_store.event_uuid FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.event_uuid
    TO progress_project, progress_batch, progress_query, progress_erasure;

-- Folds look up the retractions of an event.
CREATE INDEX retractions_by_event ON event_store.events (
    stream_id, event_store.event_uuid(event_data ->> 'retracted_event_id'), global_position)
    WHERE event_type = 'EventRetracted';

-- Without statistics: after an erasure, they would still have the ids that the learner's retractions named, because an
-- ANALYZE of the table's columns leaves out indexes.
ALTER INDEX event_store.retractions_by_event ALTER COLUMN 2 SET STATISTICS 0;
