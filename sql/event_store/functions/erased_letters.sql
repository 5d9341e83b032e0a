-- The dead letters of erased learners: how they are recognized, and what remains of them.

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

-- Return the sessions that a dead letter's payload names, or those of the entries of a bundle.
CREATE OR REPLACE FUNCTION event_store.named_sessions(payload text, is_bundle boolean) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    body json;
BEGIN
    -- Most payloads without fields are found by their first bytes.
    IF NOT is_bundle AND ltrim(left(payload, 64), E' \t\n\r') ~ '^[^{]'
        OR strpos(payload, 'session_id') = 0 AND strpos(payload, '\') = 0
    THEN
        RETURN '{}';
    END IF;
    body := event_store.parse_payload(payload);
    RETURN ARRAY(
        SELECT DISTINCT i.session_id
        FROM json_array_elements(CASE WHEN is_bundle THEN body ELSE json_build_array(body) END) AS e (entry)
        CROSS JOIN LATERAL event_store.id_in(coalesce(event_store.entry_data(e.entry), e.entry) -> 'session_id')
            AS i (session_id)
        WHERE i.session_id IS NOT NULL);
END $$;

-- Split a text that is not a JSON object into its tokens, in their order. Tokens are separated by white space, quotes
-- of both kinds, backquotes, brackets of all four kinds, commas, colons, semicolons and equals signs.
CREATE OR REPLACE FUNCTION event_store.tokens(content text) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
SELECT array_remove(string_to_array(translate(content, s.separators, repeat(' ', length(s.separators))), ' '), '')
FROM (VALUES (E'"''`()[]{}<>,:;=\t\n\u000b\f\r\u001c\u001d\u001e\u001f\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004'
              '\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000')) s (separators)
$$;

-- Decode the escapes of JSON strings in a text that need not be JSON. U+0000 and halves of surrogate pairs become
-- spaces, because PostgreSQL cannot store them. Other backslashes stay. U+FDD0, which no text uses, stands for a
-- backslash that begins no escape: unistr() must not read it as one.
CREATE OR REPLACE FUNCTION event_store.decode_escapes(content text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    decoded text := replace(content, '\\', U&'\FDD0');
BEGIN
    decoded := replace(replace(replace(replace(decoded, '\"', '"'), '\/', '/'), '\n', E'\n'), '\t', E'\t');
    decoded := replace(replace(replace(decoded, '\r', E'\r'), '\f', E'\f'), '\b', E'\b');
    IF strpos(decoded, '\u') > 0 THEN
        decoded := regexp_replace(decoded, '\\(?!u[0-9a-fA-F]{4})', U&'\FDD0', 'g');
        decoded := unistr(regexp_replace(decoded,
            '\\u0000'
            '|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})'
            '|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}', ' ', 'g'));
    END IF;
    RETURN replace(decoded, U&'\FDD0', '\');
END $$;

-- Return whether the id of an erased learner is one of the tokens of a text that is not a JSON object. If `wanted` is
-- not null, return whether this is the learner with this digest. JSON escapes are decoded up to four times, because a
-- JSON string may itself hold JSON. An id that contains separators is compared with every sequence of as many tokens.
CREATE OR REPLACE FUNCTION event_store.names_erased(content text, wanted bytea) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key      event_store.erasure_key;
    decoded  text := content;
    plain    text;
    tokens   text[];
    joined   bytea;
    how_many integer;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    FOR level IN 1 .. 5 LOOP
        tokens := event_store.tokens(decoded);
        IF EXISTS (
            SELECT FROM (SELECT DISTINCT t.token FROM unnest(tokens) AS t (token) WHERE length(t.token) <= 200) t
            -- OFFSET 0 makes the plan look up each digest by key.
            CROSS JOIN LATERAL (
                SELECT x.digest FROM event_store.erased x
                WHERE x.digest = event_store.keyed_digest(key, t.token) AND x.tokens_digest IS NULL OFFSET 0
            ) x
            WHERE wanted IS NULL OR x.digest = wanted)
        THEN
            RETURN true;
        END IF;
        FOR how_many IN
            SELECT DISTINCT x.token_count FROM event_store.erased x
            WHERE x.tokens_digest IS NOT NULL AND x.token_count > 0
        LOOP
            joined := convert_to(array_to_string(tokens, ' '), 'UTF8');
            IF EXISTS (
                SELECT FROM (
                    SELECT t.stop - octet_length(t.token) AS start,
                        lead(t.stop, how_many - 1) OVER (ORDER BY t.n) AS stop
                    FROM (
                        SELECT u.token, u.n, sum(octet_length(u.token) + 1) OVER (ORDER BY u.n)::integer AS stop
                        FROM unnest(tokens) WITH ORDINALITY AS u (token, n)
                    ) t
                ) s
                CROSS JOIN LATERAL (
                    SELECT x.digest FROM event_store.erased x
                    WHERE x.token_count = how_many AND x.tokens_digest = sha256(key.outer_key
                        || sha256(key.inner_key || substring(joined FROM s.start FOR s.stop - s.start)))
                    OFFSET 0
                ) x
                WHERE s.stop - s.start <= 800 AND (wanted IS NULL OR x.digest = wanted))
            THEN
                RETURN true;
            END IF;
        END LOOP;
        plain := CASE WHEN strpos(decoded, '\') > 0 THEN event_store.decode_escapes(decoded) ELSE decoded END;
        EXIT WHEN plain = decoded;
        decoded := plain;
    END LOOP;
    RETURN false;
END $$;

-- Decide which entries of a dead letter belong to erased learners or, if `wanted` is not null, to the learner with this
-- digest. Return null if there are none.
--
-- An entry that is a JSON object belongs to the learner whom its fields name: the first of user_id in its data,
-- metadata.user_id (userid in a CloudEvent), the attribute user_id and the learner of session_id in its data; without
-- data, user_id and session_id of the entry itself come last. `learner` and `session_id` are the ids that ingest has
-- read from the event, because addresses are masked in the payload. Any other entry has no fields; it belongs to a
-- learner whose id is one of its tokens. A payload of more than `most_searched` bytes is not searched, which would take
-- a second for each megabyte: any erasure empties its entries that have no fields.
DROP FUNCTION IF EXISTS event_store.judge_letter(text, jsonb, boolean, text, text, bytea);  -- it searched each payload
CREATE OR REPLACE FUNCTION event_store.judge_letter(
    payload text, attributes jsonb, is_bundle boolean, learner text, session_id text, wanted bytea,
    most_searched integer DEFAULT 4096
) RETURNS event_store.judgement
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key     event_store.erasure_key;
    body    json;
    is_long boolean := octet_length(payload) > most_searched;
    judged  event_store.judgement;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    IF is_bundle OR ltrim(left(payload, 64), E' \t\n\r') !~ '^[^{]' THEN
        body := event_store.parse_payload(payload);
    END IF;
    IF NOT is_bundle THEN
        body := CASE WHEN json_typeof(body) = 'object' THEN json_build_array(body) END;
    END IF;
    SELECT array_agg(i.n ORDER BY i.n) INTO judged.gone
    FROM (
        -- If a field occurs twice, the last one counts, as in ingest. The operator #> would also read the first one.
        SELECT e.n, coalesce(judge_letter.learner, event_store.id_in(d.data -> 'user_id'),
                event_store.id_in(CASE WHEN json_typeof(e.entry -> 'specversion') <> 'null' THEN e.entry -> 'userid'
                    ELSE e.entry -> 'metadata' -> 'user_id' END),
                nullif(attributes ->> 'user_id', ''),
                CASE WHEN d.data IS NULL THEN event_store.id_in(e.entry -> 'user_id') END) AS learner,
            coalesce(judge_letter.session_id,
                event_store.id_in(coalesce(d.data, e.entry) -> 'session_id')) AS session_id
        FROM json_array_elements(body) WITH ORDINALITY AS e (entry, n)
        CROSS JOIN LATERAL (SELECT event_store.entry_data(e.entry) AS data OFFSET 0) d
        WHERE json_typeof(e.entry) = 'object'
        OFFSET 0                       -- otherwise, each use of an id would parse the entry again
    ) i
    -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
    LEFT JOIN LATERAL (
        SELECT s.user_id FROM event_store.sessions s WHERE i.learner IS NULL AND s.session_id = i.session_id OFFSET 0
    ) known ON true
    LEFT JOIN LATERAL (
        SELECT s.user_id FROM event_store.sessions s
        WHERE i.learner IS NULL AND s.session_id = encode(event_store.keyed_digest(key, i.session_id), 'hex') OFFSET 0
    ) hidden ON true
    LEFT JOIN LATERAL (
        SELECT x.digest FROM event_store.erased x
        WHERE x.digest = event_store.keyed_digest(key, coalesce(i.learner, known.user_id)) OFFSET 0
    ) x ON true
    WHERE (i.learner IS NOT NULL OR i.session_id IS NOT NULL)
      AND (x.digest IS NOT NULL AND (wanted IS NULL OR x.digest = wanted) OR hidden.user_id = '');

    -- The tokens of the whole payload contain the tokens of its entries. Split the entries only if the payload matches.
    -- An entry that is null has been emptied.
    IF body IS NULL THEN
        judged.emptied := CASE WHEN is_long OR event_store.names_erased(payload, wanted) THEN '{1}'::integer[] END;
    ELSIF is_bundle AND (is_long OR event_store.names_erased(payload, wanted)) THEN
        SELECT array_agg(e.n ORDER BY e.n) INTO judged.emptied
        FROM json_array_elements(payload::json) WITH ORDINALITY AS e (entry, n)
        WHERE json_typeof(e.entry) NOT IN ('object', 'null')
          AND (is_long OR event_store.names_erased(e.entry::text, wanted));
    END IF;
    RETURN CASE WHEN judged.gone IS NOT NULL OR judged.emptied IS NOT NULL THEN judged END;
END $$;

-- Remove and empty the judged entries of a dead letter. Return what is left of it; `is_gone` is true if nothing is
-- left. In a bundle, null replaces an entry that is emptied, and the other entries keep their text. If the whole
-- payload is emptied, return its size in bytes and its hash. Without nested loops, the time is linear in the number of
-- entries.
CREATE OR REPLACE FUNCTION event_store.erase_entries(
    INOUT payload text, INOUT attributes jsonb, INOUT indexes jsonb, judged event_store.judgement,
    OUT emptied_bytes integer, OUT emptied_sha256 text, OUT is_gone boolean
)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    content bytea := convert_to(payload, 'UTF8');
BEGIN
    IF indexes IS NOT NULL AND event_store.parse_payload(payload) IS NOT NULL THEN
        WITH kept AS (
            SELECT e.n, i.index, CASE WHEN m.n IS NOT NULL THEN 'null' ELSE e.entry::text END AS entry
            FROM json_array_elements(erase_entries.payload::json) WITH ORDINALITY AS e (entry, n)
            JOIN (
                SELECT g.index, row_number() OVER (ORDER BY g.index) AS n
                FROM jsonb_array_elements(erase_entries.indexes) AS r (run)
                CROSS JOIN generate_series((r.run ->> 0)::integer, (r.run ->> 1)::integer) AS g (index)
            ) i ON i.n = e.n
            LEFT JOIN unnest(judged.gone) AS g (n) ON g.n = e.n
            LEFT JOIN unnest(judged.emptied) AS m (n) ON m.n = e.n
            WHERE g.n IS NULL
        ), runs AS (
            SELECT min(k.index) AS first, max(k.index) AS last
            FROM (SELECT o.index, o.index - row_number() OVER (ORDER BY o.n) AS run FROM kept o) k
            GROUP BY k.run
        )
        SELECT '[' || string_agg(k.entry, ',' ORDER BY k.n) || ']',
            (SELECT jsonb_agg(jsonb_build_array(r.first, r.last) ORDER BY r.first) FROM runs r)
        INTO payload, indexes
        FROM kept k;
        is_gone := payload IS NULL;
    ELSE
        is_gone := judged.gone IS NOT NULL;
        emptied_bytes := octet_length(content);
        emptied_sha256 := encode(sha256(content), 'hex');
        payload := '';
        indexes := NULL;
    END IF;
    IF EXISTS (
        SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(attributes ->> 'user_id')
    ) THEN
        attributes := attributes - 'user_id';
    END IF;
END $$;

-- Drop the dead letters of erased learners from a batch; `erased` is the number of entries dropped. judge_letter
-- decides about each dead letter. One that is not a JSON object is kept without its payload, or with it if the batch
-- has too much to search. Each kept letter gets the sessions that it names, for drop_letters_of_started_sessions.
CREATE OR REPLACE FUNCTION event_store.drop_erased_letters(INOUT letters jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    letter jsonb;
    kept   jsonb[] := '{}';
    budget integer := 65536;           -- the bytes that may be searched
    size   integer;
    judged event_store.judgement;
    rest   record;
BEGIN
    erased := 0;
    FOR letter IN SELECT l.e FROM jsonb_array_elements(letters) WITH ORDINALITY AS l (e, n) ORDER BY l.n LOOP
        judged := event_store.judge_letter(letter ->> 'payload', letter -> 'attributes', letter ? 'indexes',
            letter ->> 'learner', letter #>> '{data,session_id}', NULL, least(budget, 4096));
        size := octet_length(letter ->> 'payload');
        IF size <= least(budget, 4096) THEN
            budget := budget - size;
        ELSE
            judged := CASE WHEN judged.gone IS NOT NULL THEN ROW(judged.gone, NULL)::event_store.judgement END;
        END IF;
        IF judged IS DISTINCT FROM NULL THEN
            SELECT * INTO rest
            FROM event_store.erase_entries(letter ->> 'payload', letter -> 'attributes', letter -> 'indexes', judged);
            erased := erased + coalesce(cardinality(judged.gone), 0);
            CONTINUE WHEN rest.is_gone;
            letter := letter || jsonb_build_object('payload', rest.payload, 'attributes', rest.attributes,
                'emptied_bytes', rest.emptied_bytes, 'emptied_sha256', rest.emptied_sha256);
            IF rest.indexes IS NOT NULL THEN
                letter := letter || jsonb_build_object('indexes', rest.indexes);
            END IF;
        END IF;
        kept := kept || (letter || jsonb_build_object('sessions',
            event_store.named_sessions(letter ->> 'payload', letter ? 'indexes') || (letter #>> '{data,session_id}')));
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
-- digest. `reached` is the last id that was read, or null if no dead letter was read. The dead letter of a poisoned
-- event belongs to the learner of the event.
CREATE OR REPLACE FUNCTION event_store.letters_of(
    wanted bytea, after bigint, at_most integer, OUT letter_ids bigint[], OUT reached bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    SELECT array_agg(n.letter_id ORDER BY n.letter_id) FILTER (
            WHERE n.discard_reason IS DISTINCT FROM 'erased' AND CASE n.kind
                WHEN 'poisoned' THEN x.digest IS NOT NULL
                ELSE event_store.judge_letter(n.payload, n.attributes, n.indexes IS NOT NULL, NULL, NULL, wanted)
                    IS DISTINCT FROM NULL END),
        max(n.letter_id)
    INTO letter_ids, reached
    FROM (
        SELECT l.*, sum(octet_length(l.payload)) OVER (ORDER BY l.letter_id) - octet_length(l.payload) AS bytes_before
        FROM (SELECT * FROM event_store.dead_letters WHERE letter_id > after ORDER BY letter_id LIMIT at_most) l
    ) n
    LEFT JOIN LATERAL (
        SELECT e.stream_id FROM event_store.events e
        WHERE n.kind = 'poisoned' AND e.global_position = substr(n.message_id, length('position-') + 1)::bigint
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

-- Erase the entries of the dead letters that letters_of returns for the same arguments. Return the number of these dead
-- letters, and the last id that was read.
CREATE OR REPLACE FUNCTION event_store.redact_letters_of(
    wanted bytea, after bigint, at_most integer, OUT redacted integer, OUT reached bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    letter_ids bigint[];
BEGIN
    SELECT l.letter_ids, l.reached INTO letter_ids, reached FROM event_store.letters_of(wanted, after, at_most) l;
    redacted := coalesce(cardinality(letter_ids), 0);
    PERFORM event_store.erase_from_letters(letter_ids, wanted);
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
          AND event_store.named_sessions(l.payload, l.indexes IS NOT NULL) && session_ids
        ORDER BY letter_id), NULL);
END $$;

-- Erase the entries of erased learners or, if `wanted` is not null, of the learner with this digest from the given dead
-- letters. A dead letter without other entries is emptied and closed. One that is not JSON is emptied and stays open:
-- its kind, its reason, and the size and hash of its payload say what was lost.
CREATE OR REPLACE FUNCTION event_store.erase_from_letters(letter_ids bigint[], wanted bytea) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    letter event_store.dead_letters;
    judged event_store.judgement;
    rest   record;
BEGIN
    FOR place IN 1 .. coalesce(cardinality(letter_ids), 0) LOOP
        -- Judge the entries again, because a replay may have changed the dead letter before it was locked.
        SELECT * INTO letter FROM event_store.dead_letters l WHERE l.letter_id = letter_ids[place] FOR UPDATE;
        IF letter.kind = 'poisoned' THEN
            PERFORM event_store.redact_letters(ARRAY[letter.letter_id]);
            CONTINUE;
        END IF;
        judged := event_store.judge_letter(
            letter.payload, letter.attributes, letter.indexes IS NOT NULL, NULL, NULL, wanted);
        CONTINUE WHEN judged IS NOT DISTINCT FROM NULL;
        SELECT * INTO rest
        FROM event_store.erase_entries(letter.payload, letter.attributes, letter.indexes, judged);
        IF rest.is_gone THEN
            PERFORM event_store.redact_letters(ARRAY[letter.letter_id]);
        ELSE
            UPDATE event_store.dead_letters l
            SET payload = rest.payload, attributes = rest.attributes, indexes = rest.indexes,
                emptied_bytes = rest.emptied_bytes, emptied_sha256 = rest.emptied_sha256
            WHERE l.letter_id = letter.letter_id;
        END IF;
    END LOOP;
END $$;
