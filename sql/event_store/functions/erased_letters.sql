-- The dead letters of erased learners, which are recognized by fields, and those that nobody can decode, which have no
-- such fields: what remains of both.

-- Return the id that a field of a JSON object holds; null if the field holds no id.
CREATE OR REPLACE FUNCTION event_store.id_in(field json) RETURNS text
LANGUAGE sql IMMUTABLE STRICT
RETURN CASE WHEN json_typeof(field) IN ('string', 'number', 'boolean') AND length(field #>> '{}') BETWEEN 1 AND 200
            THEN field #>> '{}' END;

-- Return a dead letter's payload as JSON whose strings can be read; null if the payload is not JSON. PostgreSQL cannot
-- read a string with U+0000 or half a surrogate pair. In such a payload, U+FDD0, which no id uses, replaces these
-- characters. First, each escaped backslash is written in another form, because `\\u0000` is a backslash before plain
-- text.
CREATE OR REPLACE FUNCTION event_store.parse_payload(payload text) RETURNS json
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    body json;
BEGIN
    BEGIN
        body := payload::json;
        PERFORM body -> '';            -- reads every string
    EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
        body := regexp_replace(replace(payload, '\\', '\u005c'),
            '\\u0000'
            '|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})'
            '|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}', '\\ufdd0', 'g')::json;
        PERFORM body -> '';
    END;
    RETURN body;
EXCEPTION WHEN untranslatable_character OR invalid_text_representation OR statement_too_complex THEN
    RETURN NULL;                       -- not JSON, or nested too deeply
END $$;

-- Return whether fields decide whose an entry of a dead letter is. They cannot if it is no object, if its data or
-- metadata are there and no objects, or if an id in them is there and no text.
CREATE OR REPLACE FUNCTION event_store.has_fields(entry json) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
SELECT json_typeof(entry) = 'object' AND NOT EXISTS (
    SELECT FROM (
        VALUES ('object', entry -> 'data'), ('object', entry -> 'event_data'), ('object', entry -> 'metadata'),
            ('object', CASE WHEN json_typeof(entry -> 'specversion') <> 'null' THEN entry -> 'data_base64' END),
            ('string', CASE WHEN json_typeof(entry -> 'specversion') <> 'null' THEN entry -> 'userid' END)
        UNION ALL
        SELECT 'string', p.part -> i.name
        FROM (VALUES (coalesce(event_store.entry_data(entry), entry)), (entry -> 'data'), (entry -> 'event_data'),
            (entry -> 'metadata')) AS p (part), (VALUES ('user_id'), ('session_id')) AS i (name)
    ) AS f (type, field)
    WHERE json_typeof(f.field) NOT IN (f.type, 'null'))
$$;

-- Return the entries of a dead letter, which has one unless it is a bundle, with the learner and the session that their
-- fields name. The learner is the first of user_id in its data, metadata.user_id (userid in a CloudEvent) and the
-- attribute user_id; without data, user_id and session_id of the entry itself come last. An entry that is certainly no
-- object is null. OFFSET 0 keeps each use of an id from parsing the entry again.
CREATE OR REPLACE FUNCTION event_store.entries_of(letter event_store.dead_letters)
RETURNS TABLE (n bigint, entry json, learner text, session_id text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT e.n, e.entry,
    -- If a field occurs twice, the last one counts, as in ingest. The operator #> would also read the first one.
    coalesce(event_store.id_in(d.data -> 'user_id'),
        event_store.id_in(CASE WHEN json_typeof(e.entry -> 'specversion') <> 'null' THEN e.entry -> 'userid'
            ELSE e.entry -> 'metadata' -> 'user_id' END),
        nullif(letter.attributes ->> 'user_id', ''),
        CASE WHEN d.data IS NULL THEN event_store.id_in(e.entry -> 'user_id') END),
    event_store.id_in(coalesce(d.data, e.entry) -> 'session_id')
FROM json_array_elements(CASE
    WHEN letter.indexes IS NOT NULL THEN event_store.parse_payload(letter.payload)
    WHEN ltrim(left(letter.payload, 64), E' \t\n\r') ~ '^[^{]' THEN '[null]'
    ELSE json_build_array(event_store.parse_payload(letter.payload)) END) WITH ORDINALITY AS e (entry, n)
CROSS JOIN LATERAL (SELECT event_store.entry_data(e.entry) AS data OFFSET 0) d
OFFSET 0
$$;

-- Return the entries of a dead letter that belong to erased learners or, if `wanted` is not null, to the learner with
-- this digest, by their places from 1; null if there are none. If an entry names no learner, it belongs to that of its
-- session. `learner` and `session_id` are the ids that ingest has read from the event, because addresses are masked in
-- the payload.
CREATE OR REPLACE FUNCTION event_store.erased_entries(
    letter event_store.dead_letters, learner text, session_id text, wanted bytea
) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key event_store.erasure_key;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    RETURN (
        SELECT array_agg(i.n ORDER BY i.n)
        FROM (
            SELECT e.n, e.entry, coalesce(erased_entries.learner, e.learner) AS learner,
                coalesce(erased_entries.session_id, e.session_id) AS session_id
            FROM event_store.entries_of(letter) e WHERE json_typeof(e.entry) = 'object'
        ) i
        -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE i.learner IS NULL AND s.session_id = i.session_id OFFSET 0
        ) known ON true
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE i.learner IS NULL AND s.session_id = encode(event_store.keyed_digest(key, i.session_id), 'hex')
            OFFSET 0
        ) hidden ON true
        LEFT JOIN LATERAL (
            SELECT x.digest FROM event_store.erased x
            WHERE x.digest = event_store.keyed_digest(key, coalesce(i.learner, known.user_id)) OFFSET 0
        ) x ON true
        WHERE CASE
            WHEN x.digest IS NOT NULL AND (wanted IS NULL OR x.digest = wanted) OR hidden.user_id = ''
            THEN letter.kind NOT IN ('malformed', 'invalid') OR event_store.has_fields(i.entry) END);
END $$;

-- Return the entries of a dead letter that nobody can decode, by their places from 1; null if there are none. Ingest
-- has decoded the letters of the other kinds. In a bundle, an entry that is null has been removed.
CREATE OR REPLACE FUNCTION event_store.undecodable_entries(letter event_store.dead_letters) RETURNS integer[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
SELECT array_agg(e.n ORDER BY e.n)
FROM event_store.entries_of(letter) e
WHERE letter.kind IN ('malformed', 'invalid') AND letter.emptied_bytes IS NULL
  AND letter.discard_reason IS DISTINCT FROM 'erased'
  AND (letter.indexes IS NULL OR json_typeof(e.entry) <> 'null') AND NOT event_store.has_fields(e.entry)
$$;

-- Replace entries of a dead letter by null. The payload is null if no other entry is left. Without nested loops, the
-- time is linear in the number of entries.
CREATE OR REPLACE FUNCTION event_store.erase_entries(INOUT letter event_store.dead_letters, places integer[])
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
BEGIN
    SELECT CASE WHEN NOT bool_and(k.entry = 'null') THEN '[' || string_agg(k.entry, ',' ORDER BY k.n) || ']' END
    INTO letter.payload
    FROM (
        SELECT e.n, CASE WHEN p.n IS NULL THEN e.entry::text ELSE 'null' END AS entry
        FROM json_array_elements(CASE WHEN letter.indexes IS NOT NULL THEN letter.payload::json END)
            WITH ORDINALITY AS e (entry, n)
        LEFT JOIN unnest(places) AS p (n) ON p.n = e.n
    ) k;
    IF EXISTS (
        SELECT FROM event_store.erased x
        WHERE x.digest = event_store.erasure_digest(letter.attributes ->> 'user_id')
    ) THEN
        letter.attributes := letter.attributes - 'user_id';
    END IF;
END $$;

-- Drop the dead letters of erased learners from a batch; `erased` is the number of entries dropped. Each kept letter
-- gets the sessions that it names, for drop_letters_of_started_sessions.
CREATE OR REPLACE FUNCTION event_store.drop_erased_letters(INOUT letters jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    letter jsonb;
    kept   jsonb[] := '{}';
    gone   integer[];
    rest   event_store.dead_letters;
BEGIN
    erased := 0;
    FOR letter IN SELECT l.e FROM jsonb_array_elements(letters) WITH ORDINALITY AS l (e, n) ORDER BY l.n LOOP
        rest := jsonb_populate_record(NULL::event_store.dead_letters, letter);
        gone := event_store.erased_entries(rest, letter ->> 'learner', letter #>> '{data,session_id}', NULL);
        IF gone IS NOT NULL THEN
            erased := erased + cardinality(gone);
            rest := event_store.erase_entries(rest, gone);
            CONTINUE WHEN rest.payload IS NULL;
            letter := letter || jsonb_build_object('payload', rest.payload, 'attributes', rest.attributes);
        END IF;
        kept := kept || (letter || jsonb_build_object('sessions', ARRAY(
            SELECT DISTINCT coalesce(letter #>> '{data,session_id}', e.session_id)
            FROM event_store.entries_of(rest) e)));
    END LOOP;
    letters := to_jsonb(kept);
END $$;

-- Drop the dead letters of a batch whose session has become a session of an erased learner since drop_erased_letters
-- judged them, because this batch or a concurrent one started it. `erased` is the number of entries dropped.
CREATE OR REPLACE FUNCTION event_store.drop_letters_of_started_sessions(INOUT letters jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    key   event_store.erasure_key;
    again jsonb;                       -- the dead letters to judge again
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    erased := 0;
    SELECT coalesce(jsonb_agg(l.e) FILTER (WHERE NOT l.is_hidden), '[]'), jsonb_agg(l.e) FILTER (WHERE l.is_hidden)
    INTO letters, again
    FROM (
        SELECT a.e, EXISTS (
                SELECT FROM jsonb_array_elements_text(a.e -> 'sessions') AS i (session_id)
                CROSS JOIN LATERAL (
                    SELECT FROM event_store.sessions s
                    WHERE s.session_id = encode(event_store.keyed_digest(key, i.session_id), 'hex') OFFSET 0
                ) hidden
            ) AS is_hidden
        FROM jsonb_array_elements(letters) AS a (e)
        OFFSET 0                       -- otherwise, each use of is_hidden would look up the sessions again
    ) l;
    IF again IS NOT NULL THEN
        SELECT drop_letters_of_started_sessions.letters || d.letters, d.erased INTO letters, erased
        FROM event_store.drop_erased_letters(again) d;
    END IF;
END $$;

-- Read up to `at_most` dead letters whose ids follow `after`, in the order of their ids, and no further one after 4
-- MiB of payloads. Return those with entries of erased learners or, if `wanted` is not null, of the learner with this
-- digest; with_undecodable, those with entries that nobody can decode; and the last id that was read, or null if no
-- dead letter was read. If `wanted` is null, letters that came after the last erasure are not undecodable ones. The
-- dead letter of a poisoned event belongs to the learner of the event.
CREATE OR REPLACE FUNCTION event_store.letters_of(
    wanted bytea, after bigint, at_most integer, with_undecodable boolean DEFAULT true,
    OUT letter_ids bigint[], OUT undecodable_ids bigint[], OUT reached bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    until timestamptz := CASE WHEN NOT with_undecodable THEN '-infinity'::timestamptz
        WHEN wanted IS NULL THEN (SELECT max(x.erased_at) FROM event_store.erased x) ELSE 'infinity' END;
BEGIN
    SELECT array_agg(l.letter_id ORDER BY l.letter_id) FILTER (
            WHERE l.discard_reason IS DISTINCT FROM 'erased' AND CASE l.kind
                WHEN 'poisoned' THEN x.digest IS NOT NULL
                ELSE event_store.erased_entries(l, NULL, NULL, wanted) IS NOT NULL END),
        array_agg(l.letter_id ORDER BY l.letter_id) FILTER (
            WHERE CASE WHEN l.received_at <= until THEN event_store.undecodable_entries(l) IS NOT NULL END),
        max(l.letter_id)
    INTO letter_ids, undecodable_ids, reached
    FROM (
        SELECT d.letter_id,
            sum(octet_length(d.payload)) OVER (ORDER BY d.letter_id) - octet_length(d.payload) AS bytes_before
        FROM (
            SELECT letter_id, payload FROM event_store.dead_letters
            WHERE letter_id > after ORDER BY letter_id LIMIT at_most
        ) d
    ) n
    JOIN event_store.dead_letters l ON l.letter_id = n.letter_id
    LEFT JOIN LATERAL (
        SELECT e.stream_id FROM event_store.events e
        WHERE l.kind = 'poisoned' AND e.global_position = substr(l.message_id, length('position-') + 1)::bigint
          AND e.stream_id LIKE 'learner-%'
        OFFSET 0
    ) e ON true
    LEFT JOIN LATERAL (
        SELECT x.digest FROM event_store.erased x
        WHERE x.digest = event_store.erasure_digest(substr(e.stream_id, length('learner-') + 1))
          AND (wanted IS NULL OR x.digest = wanted)
        OFFSET 0
    ) x ON true
    WHERE n.bytes_before < 4 << 20;
END $$;

-- Empty the given dead letters, and close them as `erased`. Keep the message id and the index, so that a redelivery is
-- recognized.
CREATE OR REPLACE FUNCTION event_store.redact_letters(letter_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l
    SET event_id = NULL, event_type = NULL, reason = 'erased', payload = '', attributes = '{}', due_at = NULL,
        discarded_at = coalesce(l.discarded_at, clock_timestamp()), discard_reason = 'erased'
    WHERE l.letter_id = ANY (redact_letters.letter_ids);
END;

-- Erase the entries of the dead letters that letters_of returns for the same arguments. Return the number of dead
-- letters with entries of erased learners, and the last id that was read.
CREATE OR REPLACE FUNCTION event_store.redact_letters_of(
    wanted bytea, after bigint, at_most integer, with_undecodable boolean DEFAULT true,
    OUT redacted integer, OUT reached bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    found record;
BEGIN
    SELECT * INTO found FROM event_store.letters_of(wanted, after, at_most, with_undecodable);
    -- In the order of empty_old_letters, which would otherwise deadlock with this.
    PERFORM FROM event_store.dead_letters l
    WHERE l.letter_id = ANY (found.letter_ids || found.undecodable_ids) ORDER BY l.letter_id FOR UPDATE;
    PERFORM event_store.erase_from_letters(found.letter_ids, wanted);
    PERFORM event_store.empty_undecodable(found.undecodable_ids);
    redacted := coalesce(cardinality(found.letter_ids), 0);
    reached := found.reached;
END $$;

-- Erase the entries of the dead letters that name one of these new sessions of an erased learner. Of large objects and
-- bundles, which no index describes, read only those that have the text of a session's id.
CREATE OR REPLACE FUNCTION event_store.redact_letters_of_sessions(session_ids text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM event_store.erase_from_letters(ARRAY(
        SELECT l.letter_id FROM event_store.dead_letters l
        WHERE l.indexes IS NULL AND l.kind <> 'poisoned'
          AND event_store.letter_session(l.payload) COLLATE "C" = ANY (session_ids)
        UNION ALL
        SELECT l.letter_id FROM event_store.dead_letters l
        WHERE (l.indexes IS NOT NULL
               OR octet_length(l.payload) > 4096 AND left(ltrim(left(l.payload, 64), E' \t\n\r'), 1) IN ('{', ''))
          AND l.kind <> 'poisoned'
          AND (strpos(l.payload, '\') > 0
               OR EXISTS (SELECT FROM unnest(session_ids) AS i (id) WHERE strpos(l.payload, i.id) > 0))
          AND EXISTS (SELECT FROM event_store.entries_of(l) e WHERE e.session_id = ANY (session_ids))
        ORDER BY letter_id), NULL);
END $$;

-- Erase the entries of erased learners or, if `wanted` is not null, of the learner with this digest from the given dead
-- letters. A dead letter without other entries is closed.
CREATE OR REPLACE FUNCTION event_store.erase_from_letters(letter_ids bigint[], wanted bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    letter event_store.dead_letters;
    gone   integer[];
BEGIN
    FOR place IN 1 .. coalesce(cardinality(letter_ids), 0) LOOP
        -- Judge the entries again, because a replay may have changed the dead letter before it was locked.
        SELECT * INTO letter FROM event_store.dead_letters l WHERE l.letter_id = letter_ids[place] FOR UPDATE;
        gone := event_store.erased_entries(letter, NULL, NULL, wanted);
        CONTINUE WHEN gone IS NULL AND letter.kind <> 'poisoned';
        letter := event_store.erase_entries(letter, gone);
        IF letter.payload IS NULL THEN
            PERFORM event_store.redact_letters(ARRAY[letter.letter_id]);
        ELSE
            UPDATE event_store.dead_letters l SET payload = letter.payload, attributes = letter.attributes
            WHERE l.letter_id = letter.letter_id;
        END IF;
    END LOOP;
END $$;

-- Empty what nobody can decode in the given dead letters, which stay open. Of one without other entries, its kind, its
-- reason, its times, and the size and hash of its payload say what was lost.
CREATE OR REPLACE FUNCTION event_store.empty_undecodable(letter_ids bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    letter  event_store.dead_letters;
    places  integer[];
    content bytea;
BEGIN
    FOR place IN 1 .. coalesce(cardinality(letter_ids), 0) LOOP
        SELECT * INTO letter FROM event_store.dead_letters l WHERE l.letter_id = letter_ids[place] FOR UPDATE;
        places := event_store.undecodable_entries(letter);
        CONTINUE WHEN places IS NULL;
        content := convert_to(letter.payload, 'UTF8');
        letter := event_store.erase_entries(letter, places);
        IF letter.payload IS NULL THEN
            UPDATE event_store.dead_letters l
            SET payload = '', attributes = '{}', event_id = NULL, event_type = NULL, indexes = NULL,
                emptied_bytes = octet_length(content), emptied_sha256 = encode(sha256(content), 'hex')
            WHERE l.letter_id = letter.letter_id;
        ELSE
            UPDATE event_store.dead_letters l SET payload = letter.payload, attributes = letter.attributes
            WHERE l.letter_id = letter.letter_id;
        END IF;
    END LOOP;
END $$;

-- Do so in dead letters that arrived this number of days ago or earlier: up to `at_most`, the oldest first, and no
-- further one after 4 MiB of payloads. Return the number of dead letters that were read; none is read twice.
CREATE OR REPLACE FUNCTION event_store.empty_old_letters(days integer, at_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    letter_ids bigint[];
BEGIN
    SELECT array_agg(n.letter_id ORDER BY n.letter_id) INTO letter_ids
    FROM (
        SELECT l.letter_id, sum(octet_length(l.payload)) OVER (ORDER BY l.received_at, l.letter_id)
            - octet_length(l.payload) AS bytes_before
        FROM (
            SELECT * FROM event_store.dead_letters
            WHERE NOT is_aged AND kind IN ('malformed', 'invalid')
              AND received_at <= clock_timestamp() - make_interval(days => empty_old_letters.days)
            ORDER BY received_at, letter_id LIMIT at_most
        ) l
    ) n
    WHERE n.bytes_before < 4 << 20;
    PERFORM event_store.empty_undecodable(letter_ids);
    UPDATE event_store.dead_letters l SET is_aged = true WHERE l.letter_id = ANY (letter_ids);
    RETURN coalesce(cardinality(letter_ids), 0);
END $$;
