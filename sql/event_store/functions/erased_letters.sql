-- Whose dead letters are, and what an erasure leaves of them. Whoever writes a letter records its owners; no payload is
-- parsed again to learn them.
--
-- An owner is `l:` (a learner) or `s:` (a session that has no learner beside it) and the keyed digest of the id in
-- hexadecimal digits, `nobody` or `unknown`. Ingest names the owners with the ids, as `learner:…` or `session:…`
-- (progress/event_store/owners.py). A bundle has one owner for each range of its indexes. A letter that an earlier
-- version wrote has none (null) until the batch job or an erasure reads it; one that was emptied has an empty array.
-- Also held by: event_store/test_letter_owners.py.

-- Return owners as they are stored, in their order; one that is stored already stays as it is. The digest is that of
-- keyed_digest, which takes twice as long.
CREATE OR REPLACE FUNCTION event_store.stored_owners(owners text[]) RETURNS text[]
LANGUAGE sql STABLE STRICT
RETURN ARRAY(
    SELECT CASE WHEN left(o.owner, 8) IN ('learner:', 'session:') THEN left(o.owner, 1) || ':' || encode(
        sha256(k.outer_key || sha256(k.inner_key || convert_to(substr(o.owner, 9), 'UTF8'))), 'hex') ELSE o.owner END
    FROM event_store.erasure_key k CROSS JOIN unnest(owners) WITH ORDINALITY AS o (owner, n) ORDER BY o.n);

-- Return those of the owners, as ingest names them, that are erased learners or sessions of theirs; null if none is.
CREATE OR REPLACE FUNCTION event_store.erased_owners(owners text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key   event_store.erasure_key;
    named text[] := ARRAY(SELECT DISTINCT unnest(owners));
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    RETURN (
        SELECT array_agg(o.owner)
        FROM unnest(named, event_store.stored_owners(named)) AS o (owner, stored)
        -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE o.stored LIKE 's:%' AND s.session_id IN (substr(o.owner, 9), substr(o.stored, 3)) OFFSET 0
        ) session ON true
        LEFT JOIN LATERAL (
            SELECT x.digest FROM event_store.erased x
            WHERE x.digest = CASE WHEN o.stored LIKE 'l:%' THEN decode(substr(o.stored, 3), 'hex')
                ELSE event_store.keyed_digest(key, session.user_id) END OFFSET 0
        ) x ON true
        WHERE x.digest IS NOT NULL OR session.user_id = '');  -- '' is the learner of a hidden session
END $$;

-- Drop the entries of erased learners from the dead letters of a batch; `erased` is the number of entries dropped. A
-- bundle keeps the ranges of other owners. The caller holds the lock of the append, and has dropped the events of
-- erased learners.
CREATE OR REPLACE FUNCTION event_store.drop_erased_letters(INOUT letters jsonb, OUT erased bigint)
LANGUAGE plpgsql AS $$
DECLARE
    gone text[] := event_store.erased_owners(ARRAY(
        SELECT o.owner
        FROM jsonb_array_elements(letters) AS l (letter)
        CROSS JOIN jsonb_array_elements_text(l.letter -> 'owners') AS o (owner)));
BEGIN
    erased := 0;
    IF gone IS NOT NULL THEN
        SELECT coalesce(jsonb_agg(CASE WHEN r.erased > 0 THEN l.letter || r.rest ELSE l.letter END ORDER BY l.n)
                FILTER (WHERE r.erased IS NULL OR r.has_rest), '[]'), sum(r.erased)
        INTO letters, erased
        FROM jsonb_array_elements(letters) WITH ORDINALITY AS l (letter, n)
        CROSS JOIN LATERAL (
            SELECT sum(coalesce((r.range ->> 1)::bigint - (r.range ->> 0)::bigint, 0) + 1)
                    FILTER (WHERE g.owner IS NOT NULL) AS erased,
                bool_or(g.owner IS NULL) AS has_rest,
                jsonb_build_object('owners', jsonb_agg(r.owner ORDER BY r.n) FILTER (WHERE g.owner IS NULL),
                    'indexes', jsonb_agg(r.range ORDER BY r.n) FILTER (WHERE g.owner IS NULL),
                    'texts', jsonb_agg(r.text ORDER BY r.n) FILTER (WHERE g.owner IS NULL)) AS rest
            FROM ROWS FROM (
                jsonb_array_elements_text(l.letter -> 'owners'), jsonb_array_elements(l.letter -> 'indexes'),
                jsonb_array_elements_text(l.letter -> 'texts')
            ) WITH ORDINALITY AS r (owner, range, text, n)
            LEFT JOIN unnest(gone) AS g (owner) USING (owner)
        ) r;
    END IF;
END $$;

-- Return the owners, as they are stored, of the letters of erased learners: each learner and their sessions, or those
-- of the learner with this digest. The letters of a session are redacted before an erasure hides the session.
CREATE OR REPLACE FUNCTION event_store.owners_of(wanted bytea) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT ARRAY(SELECT 'l:' || encode(x.digest, 'hex') FROM event_store.erased x WHERE wanted IS NULL OR x.digest = wanted)
    || event_store.stored_owners(ARRAY(
        SELECT 'session:' || s.session_id
        FROM event_store.erasure_key k
        CROSS JOIN (SELECT DISTINCT s.user_id FROM event_store.sessions s WHERE s.user_id <> '') u
        JOIN event_store.erased x ON x.digest = event_store.keyed_digest(k, u.user_id)
        JOIN event_store.sessions s ON s.user_id = u.user_id
        WHERE wanted IS NULL OR x.digest = wanted))
$$;

-- Return the dead letters that have one of these owners, in the order of their ids. No index has the owners of bundles,
-- which are few. Without nested loops, the time is linear in the number of owners.
CREATE OR REPLACE FUNCTION event_store.letters_with(wanted text[]) RETURNS SETOF bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_nestloop = off
SET jit = off
AS $$
SELECT l.letter_id
FROM unnest(wanted) AS w (owner)
CROSS JOIN LATERAL (
    SELECT d.letter_id FROM event_store.dead_letters d WHERE d.owners[1] = w.owner AND d.indexes IS NULL OFFSET 0
) l
UNION
SELECT d.letter_id
FROM event_store.dead_letters d CROSS JOIN unnest(d.owners) AS o (owner) JOIN unnest(wanted) AS w (owner) USING (owner)
WHERE d.indexes IS NOT NULL
ORDER BY letter_id
$$;

-- Return the dead letters of the learner with this digest, and the number of entries of others in their bundles; and
-- `with_undecodable`, those with entries that nobody can decode, which are left out of the first ones. Version 0.3 asks
-- in pages; all of it is the first page.
CREATE OR REPLACE FUNCTION event_store.letters_of(
    wanted bytea, after bigint, at_most integer, with_undecodable boolean DEFAULT true,
    OUT letter_ids bigint[], OUT undecodable_ids bigint[], OUT reached bigint, OUT bundled bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    theirs text[] := event_store.owners_of(wanted);
BEGIN
    SELECT array_agg(l.letter_id ORDER BY l.letter_id), coalesce(sum(o.of_others), 0) INTO letter_ids, bundled
    FROM event_store.letters_with(theirs) AS i (letter_id)
    JOIN event_store.dead_letters l USING (letter_id)
    CROSS JOIN LATERAL (
        SELECT sum((r.range ->> 1)::bigint - (r.range ->> 0)::bigint + 1) FILTER (WHERE w.owner IS NULL) AS of_others
        FROM ROWS FROM (unnest(l.owners), jsonb_array_elements(l.indexes)) AS r (owner, range)
        LEFT JOIN unnest(theirs) AS w (owner) USING (owner)
    ) o
    WHERE NOT (with_undecodable AND 'unknown' = ANY (l.owners));
    IF with_undecodable THEN
        SELECT array_agg(l.letter_id ORDER BY l.letter_id) INTO undecodable_ids
        FROM event_store.dead_letters l WHERE 'unknown' = ANY (l.owners);
    END IF;
END $$;

-- Empty the given dead letters, and close them as `erased`. Keep the message id and the index, so that a redelivery is
-- recognized.
CREATE OR REPLACE FUNCTION event_store.redact_letters(letter_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l
    SET event_id = NULL, event_type = NULL, reason = 'erased', payload = '', attributes = '{}', due_at = NULL,
        owners = '{}', discarded_at = coalesce(l.discarded_at, clock_timestamp()), discard_reason = 'erased'
    WHERE l.letter_id = ANY (redact_letters.letter_ids);
END;

-- Redact up to `at_most` dead letters of erased learners or, with a digest, of this learner; and `with_undecodable`,
-- empty as many that nobody can decode: without a digest, those that came before the last erasure. Return the number of
-- redacted ones. `reached` is null once nothing is left.
CREATE OR REPLACE FUNCTION event_store.redact_letters_of(
    wanted bytea, after bigint, at_most integer, with_undecodable boolean DEFAULT true,
    OUT redacted integer, OUT reached bigint
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found   bigint[] := ARRAY(
        SELECT l.letter_id FROM event_store.letters_with(event_store.owners_of(wanted)) AS i (letter_id)
        JOIN event_store.dead_letters l USING (letter_id)
        WHERE NOT (with_undecodable AND 'unknown' = ANY (l.owners)) ORDER BY l.letter_id LIMIT at_most);
    emptied integer := 0;
BEGIN
    IF found <> '{}' THEN
        -- Everybody locks letters in this order. A replay may have changed one before it was locked.
        PERFORM FROM event_store.dead_letters l WHERE l.letter_id = ANY (found) ORDER BY l.letter_id FOR UPDATE;
        found := ARRAY(
            SELECT l.letter_id FROM event_store.letters_with(event_store.owners_of(wanted)) AS l (letter_id)
            WHERE l.letter_id = ANY (found));
        PERFORM event_store.redact_letters(found);
    END IF;
    IF with_undecodable THEN
        emptied := event_store.empty_undecodable(CASE WHEN wanted IS NULL
            THEN (SELECT max(x.erased_at) FROM event_store.erased x) ELSE clock_timestamp() END, at_most);
    END IF;
    redacted := coalesce(cardinality(found), 0);
    reached := CASE WHEN redacted + emptied > 0 THEN after END;
END $$;

-- Empty dead letters with an entry that nobody can decode, which stay open: those that arrived until this time, up to
-- `at_most`, the oldest first, and no further one after 4 MiB of payloads. Their kind, their reason, their times, and
-- the size and hash of the payload say what was lost. Return their number.
CREATE OR REPLACE FUNCTION event_store.empty_undecodable(until timestamptz, at_most integer) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    letter_ids bigint[];
BEGIN
    SELECT array_agg(n.letter_id) INTO letter_ids
    FROM (
        SELECT l.letter_id, sum(octet_length(l.payload)) OVER (ORDER BY l.received_at, l.letter_id)
            - octet_length(l.payload) AS bytes_before
        FROM (
            SELECT * FROM event_store.dead_letters
            WHERE 'unknown' = ANY (owners) AND received_at <= until ORDER BY received_at, letter_id LIMIT at_most
        ) l
    ) n
    WHERE n.bytes_before < 4 << 20;
    IF letter_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM FROM event_store.dead_letters l WHERE l.letter_id = ANY (letter_ids) ORDER BY l.letter_id FOR UPDATE;
    UPDATE event_store.dead_letters l
    SET payload = '', attributes = '{}', event_id = NULL, event_type = NULL, indexes = NULL, owners = '{}',
        emptied_bytes = octet_length(l.payload), emptied_sha256 = encode(sha256(convert_to(l.payload, 'UTF8')), 'hex')
    WHERE l.letter_id = ANY (letter_ids) AND 'unknown' = ANY (l.owners);
    RETURN cardinality(letter_ids);
END $$;

-- Do so with those that arrived this number of days ago or earlier.
CREATE OR REPLACE FUNCTION event_store.empty_old_letters(days integer, at_most integer) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
RETURN event_store.empty_undecodable(clock_timestamp() - make_interval(days => days), at_most);

-- Record the owners of dead letters that have none: [{"letter_id": …, "owners": […], "indexes": […]}]. Redact those of
-- erased learners. With the lock of the append, no start of one of the sessions is dropped meanwhile.
CREATE OR REPLACE FUNCTION event_store.record_owners(letters jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    gone   text[];
    theirs bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    gone := event_store.erased_owners(ARRAY(
        SELECT o.owner FROM jsonb_to_recordset(letters) AS n (owners text[]), unnest(n.owners) AS o (owner)));
    PERFORM FROM event_store.dead_letters l
    WHERE l.letter_id IN (SELECT n.letter_id FROM jsonb_to_recordset(letters) AS n (letter_id bigint))
    ORDER BY l.letter_id FOR UPDATE;
    WITH recorded AS (
        UPDATE event_store.dead_letters l SET owners = event_store.stored_owners(n.owners), indexes = n.indexes
        FROM jsonb_to_recordset(letters) AS n (letter_id bigint, owners text[], indexes jsonb)
        WHERE l.letter_id = n.letter_id AND l.owners IS NULL
        RETURNING l.letter_id, n.owners
    )
    SELECT array_agg(r.letter_id) INTO theirs FROM recorded r WHERE r.owners && gone;
    PERFORM event_store.redact_letters(theirs);
END $$;
