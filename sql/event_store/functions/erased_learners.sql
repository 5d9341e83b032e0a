-- The erasure of a learner from the log, and how the append recognizes erased learners afterwards. erased_letters.sql
-- has the dead letters. The functions stand in the order of the erasure's steps.

-- Return the HMAC-SHA-256 of an id with the given key. PostgreSQL inlines this function: erasure_digest, which reads
-- the key itself, takes ten times as long.
CREATE OR REPLACE FUNCTION event_store.keyed_digest(key event_store.erasure_key, id text) RETURNS bytea
LANGUAGE sql IMMUTABLE
RETURN sha256((key).outer_key || sha256((key).inner_key || convert_to(id, 'UTF8')));

-- Return the HMAC-SHA-256 of an id, with the key of this log's erasures.
CREATE OR REPLACE FUNCTION event_store.erasure_digest(id text) RETURNS bytea
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT sha256(k.outer_key || sha256(k.inner_key || convert_to(erasure_digest.id, 'UTF8')))
    FROM event_store.erasure_key k;
END;

-- Return whether the learner is erased.
CREATE OR REPLACE FUNCTION event_store.is_erased(learner text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(learner));
END;

-- Trigger function: delete the key that a migration created, before the restore of a dump inserts the dump's own key.
-- The digests in the dump were computed with the dump's key.
CREATE OR REPLACE FUNCTION event_store.replace_erasure_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM event_store.erasure_key;
    RETURN NEW;
END $$;

-- Store the digest of the learner's id, so that from now on the append drops events of the learner. Append a
-- UserDeleted, unless the learner has no events or already has a UserDeleted that no fold has marked. Return the digest
-- and the time of the erasure; version 0.3 reads the other two. A repeated call for the same operation changes nothing.
CREATE OR REPLACE FUNCTION event_store.forbid_learner(
    learner text, operation_id uuid,
    OUT digest bytea, OUT erased_at timestamptz, OUT token_count integer, OUT tokens_digest bytea
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
AS $$
DECLARE
    deletion event_store.incoming_event;
BEGIN
    -- Wait for those who ask whether a learner is erased before they write.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.erased', 0));
    -- Take the append's lock, so that earlier appends are complete, and later appends read the digest.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    digest := event_store.erasure_digest(learner);
    token_count := 1;
    IF EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = 'learner-' || learner) AND NOT EXISTS (
        SELECT FROM event_store.events e
        WHERE e.stream_id = 'learner-' || learner AND e.event_type = 'UserDeleted'
          AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position)
          AND NOT EXISTS (SELECT FROM event_store.poison_marks m WHERE m.global_position = e.global_position))
    THEN
        deletion.event_id := gen_random_uuid();
        deletion.event_type := 'UserDeleted';
        deletion.occurred_at := clock_timestamp();
        deletion.data := jsonb_build_object('user_id', learner);
        deletion.metadata := '{}';
        deletion.learner := learner;
        PERFORM event_store.record_event(deletion, NULL);
    END IF;
    INSERT INTO event_store.erased AS x (digest, operation_id)
    VALUES (forbid_learner.digest, forbid_learner.operation_id)
    ON CONFLICT ON CONSTRAINT erased_pkey DO UPDATE SET operation_id = excluded.operation_id
    RETURNING x.erased_at INTO forbid_learner.erased_at;
END $$;

-- Drop the events of erased learners from a batch; `erased` is the number dropped. An event belongs to an erased
-- learner if it names the learner. A SessionStarted, or an event that names no learner, also belongs to an erased
-- learner if it names a session of that learner.
--
-- If the SessionStarted of a new session is dropped, the session is recorded as a session of an erased learner, the
-- session's pending events are deleted, and its dead letters are redacted.
CREATE OR REPLACE FUNCTION event_store.drop_erased(INOUT events jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    key           event_store.erasure_key;
    dropped       bigint[];
    new_sessions  text[];
    session       text;
    owner         text;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    -- Most events belong to no erased learner. For a single event, check this first with three lookups, because they
    -- are faster than the statement below.
    IF jsonb_array_length(events) = 1 THEN
        session := events -> 0 ->> 'session_id';
        SELECT s.user_id INTO owner FROM event_store.sessions s WHERE s.session_id = session;
        IF owner IS DISTINCT FROM '' AND NOT EXISTS (
            SELECT FROM event_store.erased x
            WHERE x.digest = ANY (ARRAY[
                event_store.keyed_digest(key, events -> 0 ->> 'learner'), event_store.keyed_digest(key, owner)])
        ) AND NOT EXISTS (
            SELECT FROM event_store.sessions s
            WHERE s.session_id = encode(event_store.keyed_digest(key, session), 'hex'))
        THEN
            erased := 0;
            RETURN;
        END IF;
    END IF;
    WITH incoming AS MATERIALIZED (
        SELECT i.n, i.e ->> 'learner' AS learner, i.e ->> 'session_id' AS session_id,
            i.e ->> 'event_type' = 'SessionStarted' AS is_start
        FROM jsonb_array_elements(events) WITH ORDINALITY AS i (e, n)
    ), session AS MATERIALIZED (
        SELECT s.session_id, known.user_id IS NULL AND hidden.user_id IS NULL AS is_new,
            coalesce(known.user_id, hidden.user_id, s.starter) AS learner
        FROM (
            SELECT i.session_id, (array_agg(i.learner ORDER BY i.n) FILTER (WHERE i.is_start))[1] AS starter
            FROM incoming i WHERE i.session_id IS NOT NULL GROUP BY i.session_id
        ) s
        -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT o.user_id FROM event_store.sessions o WHERE o.session_id = s.session_id OFFSET 0
        ) known ON true
        LEFT JOIN LATERAL (
            SELECT o.user_id FROM event_store.sessions o
            WHERE o.session_id = encode(event_store.keyed_digest(key, s.session_id), 'hex') OFFSET 0
        ) hidden ON true
    ), gone AS MATERIALIZED (          -- the batch's erased learners; '' stands for the learner of an erased session
        SELECT l.learner
        FROM (SELECT i.learner FROM incoming i UNION SELECT s.learner FROM session s) l
        LEFT JOIN LATERAL (
            SELECT x.digest FROM event_store.erased x
            WHERE x.digest = event_store.keyed_digest(key, l.learner) OFFSET 0
        ) x ON true
        WHERE x.digest IS NOT NULL OR l.learner = ''
    )
    SELECT
        ARRAY(SELECT i.n FROM incoming i LEFT JOIN session s ON s.session_id = i.session_id
              WHERE EXISTS (SELECT FROM gone g WHERE g.learner IN (i.learner, s.learner))),
        ARRAY(SELECT s.session_id FROM session s
              WHERE s.is_new AND s.learner IN (SELECT g.learner FROM gone g) ORDER BY s.session_id)
    INTO dropped, new_sessions;

    IF new_sessions <> '{}' THEN
        INSERT INTO event_store.sessions (session_id, user_id)
        SELECT encode(event_store.erasure_digest(s), 'hex'), '' FROM unnest(new_sessions) s;
        DELETE FROM event_store.pending p WHERE p.session_id = ANY (new_sessions);
        PERFORM event_store.redact_letters(ARRAY(SELECT event_store.letters_with(
            event_store.stored_owners(ARRAY(SELECT 'session:' || s FROM unnest(new_sessions) s)))));
    END IF;
    IF dropped <> '{}' THEN
        SELECT coalesce(jsonb_agg(i.e ORDER BY i.n), '[]') INTO events
        FROM jsonb_array_elements(events) WITH ORDINALITY AS i (e, n) WHERE i.n <> ALL (dropped);
    END IF;
    erased := cardinality(dropped);
END $$;

-- Count a learner's events, sessions, pending events, snapshots and marks of poisoned events, for the receipt. Other
-- statements count the learner's dead letters and operations.
CREATE OR REPLACE FUNCTION event_store.count_of_learner(
    learner text, OUT events bigint, OUT sessions bigint, OUT pending bigint, OUT snapshots bigint, OUT poisoned bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
SELECT
    (SELECT count(*) FROM event_store.events e WHERE e.stream_id = 'learner-' || learner),
    (SELECT count(*) FROM event_store.sessions s WHERE s.user_id = learner),
    (SELECT count(*) FROM event_store.pending_of(learner)),
    (SELECT count(*) FROM event_store.snapshots s WHERE s.stream_id = 'learner-' || learner),
    (SELECT count(*)
     FROM (SELECT global_position FROM event_store.poisoned
           UNION ALL SELECT global_position FROM event_store.poison_marks) p
     JOIN event_store.events e USING (global_position)
     WHERE e.stream_id = 'learner-' || learner)
INTO events, sessions, pending, snapshots, poisoned;
END $$;

-- Return the stream that holds a shard's emptied events: the first of erased-1, erased-2 … that belongs to the shard.
CREATE OR REPLACE FUNCTION event_store.erased_stream(shard smallint) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n integer := 1;
BEGIN
    WHILE event_store.shard_of('erased-' || n) <> shard LOOP
        n := n + 1;
    END LOOP;
    RETURN 'erased-' || n;
END $$;

-- Empty up to `at_most` events of the learner's stream, the newest first; return the number of emptied events.
-- UserDeleted events are emptied only if with_deletions is true. Emptied events keep their positions, shards and
-- recording times, but move to the shard's stream of erased events. The learner's remaining events are renumbered, so
-- that their versions stay 1, 2, 3 … without gaps.
CREATE OR REPLACE FUNCTION event_store.redact_events(learner text, at_most integer, with_deletions boolean)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    stream    text := 'learner-' || learner;
    target    text := event_store.erased_stream(event_store.shard_of(stream));
    last      bigint;              -- the highest version of the target stream
    positions bigint[];
    version   bigint;              -- the lowest unused version of the learner's stream
    deletion  record;
BEGIN
    -- Only one transaction at a time may add events to the target stream.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.redact ' || target, 0));
    SELECT coalesce(max(e.stream_version), 0) INTO last FROM event_store.events e WHERE e.stream_id = target;

    WITH next AS (
        SELECT n.*, row_number() OVER (ORDER BY n.stream_version) AS nth
        FROM (
            SELECT e.global_position, e.stream_version
            FROM event_store.events e
            WHERE e.stream_id = stream AND (with_deletions OR e.event_type <> 'UserDeleted')
            ORDER BY e.stream_version DESC
            LIMIT at_most
        ) n
    ), emptied AS (
        UPDATE event_store.events e
        SET event_id = gen_random_uuid(), event_type = 'Erased', event_data = '{}', metadata = '{}',
            occurred_at = e.created_at, stream_id = target, stream_version = last + n.nth
        FROM next n
        WHERE e.global_position = n.global_position
        RETURNING e.global_position, n.stream_version
    )
    SELECT array_agg(e.global_position), min(e.stream_version) INTO positions, version FROM emptied e;

    FOR deletion IN
        SELECT e.global_position FROM event_store.events e
        WHERE e.stream_id = stream AND e.stream_version > version ORDER BY e.stream_version
    LOOP
        UPDATE event_store.events e SET stream_version = version WHERE e.global_position = deletion.global_position;
        version := version + 1;
    END LOOP;

    DELETE FROM event_store.poisoned p WHERE p.global_position = ANY (positions);
    DELETE FROM event_store.poison_marks m WHERE m.global_position = ANY (positions);
    PERFORM event_store.redact_letters(ARRAY(
        SELECT l.letter_id FROM event_store.dead_letters l
        WHERE l.subscription = '' AND l.message_id = ANY (ARRAY(SELECT 'position-' || p FROM unnest(positions) p))));
    RETURN coalesce(cardinality(positions), 0);
END $$;

-- Read up to `at_most` events of undeclared types that name no learner, beginning after the given stream and version.
-- Return the positions of two kinds of these events. An event of the first kind names a session of the learner, but
-- arrived before the session's first SessionStarted. An event of the second kind names a session whose SessionStarted
-- was dropped, because the session's learner is erased. `reached_…` are the stream and the version of the last event
-- that was read; null if there was none.
CREATE OR REPLACE FUNCTION event_store.undeclared_of(
    learner text, after_stream text, after_version bigint, at_most integer,
    OUT positions bigint[], OUT reached_stream text, OUT reached_version bigint
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
BEGIN
    WITH next AS MATERIALIZED (
        SELECT e.global_position, e.stream_id, e.stream_version, e.event_data ->> 'session_id' AS session_id
        FROM event_store.events e
        WHERE (e.stream_id, e.stream_version) > (after_stream, after_version) AND e.stream_id < 'other.'
        ORDER BY e.stream_id, e.stream_version
        LIMIT at_most
    )
    SELECT coalesce(array_agg(n.global_position) FILTER (WHERE n.session_id IS NOT NULL AND (
            EXISTS (SELECT FROM event_store.sessions s WHERE s.session_id = n.session_id AND s.user_id = learner)
            OR EXISTS (SELECT FROM event_store.sessions s
                       WHERE s.session_id = encode(event_store.erasure_digest(n.session_id), 'hex')))), '{}'),
        (array_agg(n.stream_id ORDER BY n.stream_id DESC, n.stream_version DESC))[1],
        (array_agg(n.stream_version ORDER BY n.stream_id DESC, n.stream_version DESC))[1]
    INTO positions, reached_stream, reached_version
    FROM next n;
END $$;

-- Remove the contents of the events that undeclared_of returns for the same arguments. Return the number of these
-- events, and the last stream and version that were read. The events stay in their streams, because events of other
-- learners follow in these streams, and the versions of a stream must stay 1, 2, 3 … without gaps.
CREATE OR REPLACE FUNCTION event_store.redact_undeclared(
    learner text, after_stream text, after_version bigint, at_most integer,
    OUT redacted integer, OUT reached_stream text, OUT reached_version bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    positions bigint[];
BEGIN
    SELECT u.positions, u.reached_stream, u.reached_version INTO positions, reached_stream, reached_version
    FROM event_store.undeclared_of(learner, after_stream, after_version, at_most) u;
    UPDATE event_store.events e
    SET event_id = gen_random_uuid(), event_type = 'Erased', event_data = '{}', metadata = '{}',
        occurred_at = e.created_at
    WHERE e.global_position = ANY (positions);
    redacted := cardinality(positions);
END $$;

-- Return the ids of the learner's pending events: those that name the learner, or a session of the learner or of
-- another erased learner.
CREATE OR REPLACE FUNCTION event_store.pending_of(learner text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT p.event_id
FROM event_store.pending p
WHERE learner IN (p.event_data ->> 'user_id', p.metadata ->> 'user_id')
   OR EXISTS (SELECT FROM event_store.sessions s WHERE s.session_id = p.session_id AND s.user_id = learner)
   OR EXISTS (SELECT FROM event_store.sessions s
              WHERE s.session_id = encode(event_store.erasure_digest(p.session_id), 'hex') AND s.user_id = '')
$$;

-- Delete the pending events of an erased learner.
CREATE OR REPLACE FUNCTION event_store.delete_pending(learner text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM event_store.pending p WHERE p.event_id IN (SELECT event_store.pending_of(learner));
END $$;

-- Read up to `at_most` sessions whose ids follow `after`, in the order of their ids. If a session belongs to the
-- learner, replace the session's id by its digest, and the learner's id by ''. Return the last id that was read, or
-- null if no session was read. The append still recognizes these sessions, because it also looks up the digest of each
-- session id.
CREATE OR REPLACE FUNCTION event_store.hide_sessions(learner text, after text, at_most integer) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    hidden  text[];
    reached text;
BEGIN
    SELECT array_agg(n.session_id) FILTER (WHERE n.user_id = learner), max(n.session_id) INTO hidden, reached
    FROM (
        SELECT s.session_id, s.user_id FROM event_store.sessions s
        WHERE s.session_id > after ORDER BY s.session_id LIMIT at_most) n;
    UPDATE event_store.sessions s
    SET session_id = encode(event_store.erasure_digest(s.session_id), 'hex'), user_id = ''
    WHERE s.session_id = ANY (hidden);
    RETURN reached;
END $$;

-- Count the events of others in a range of positions that mention a learner: a field of their data or metadata is the
-- learner's id, other than the ids of items, sessions, groups and lists, and what is a text: a headword, a list's name.
-- `reached` is the last position that was read, or null if there was none. An erasure does not change these events.
CREATE OR REPLACE FUNCTION event_store.mentions_of(
    learner text, after bigint, at_most integer, OUT mentions bigint, OUT reached bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
SELECT count(*) FILTER (
        WHERE n.stream_id NOT LIKE 'other-%' AND n.stream_id <> 'learner-' || learner
          -- Most events do not contain the id as text, and strpos is faster than a JSON path.
          AND (strpos(n.event_data::text, quoted) > 0 OR strpos(n.metadata::text, quoted) > 0)
          AND (jsonb_path_exists(
                   n.event_data - '{item_id,session_id,group_id,list_id,headword,kind,name,scale}'::text[],
                   '$.** ? (@ == $id)', variables)
               OR jsonb_path_exists(n.metadata, '$.** ? (@ == $id)', variables))),
    max(n.global_position)
FROM (
    SELECT * FROM event_store.events e WHERE e.global_position > after ORDER BY e.global_position LIMIT at_most
) n, (VALUES (to_json(learner)::text, jsonb_build_object('id', learner))) v (quoted, variables)
$$;

-- Renew the planner's statistics of a table, or of some of its columns, because they may contain values from erased
-- rows. ANALYZE keeps the statistics of an empty table. An empty table therefore has a row meanwhile, which no other
-- transaction sees. Its texts are `invalid`, because dead_letters.kind allows this text.
CREATE OR REPLACE FUNCTION event_store.renew_statistics(analyzed regclass, columns text[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_empty boolean;
    place tid;
BEGIN
    EXECUTE format('SELECT NOT EXISTS (SELECT FROM %s)', analyzed) INTO is_empty;
    IF is_empty THEN
        EXECUTE (
            SELECT format('INSERT INTO %s (%s) VALUES (%s) RETURNING ctid', analyzed,
                string_agg(quote_ident(a.attname), ', '),
                string_agg(quote_literal(CASE
                    WHEN t.typname = 'uuid' THEN '00000000-0000-0000-0000-000000000000'
                    WHEN t.typname = 'jsonb' OR t.typcategory = 'A' THEN '{}'
                    WHEN t.typcategory = 'D' THEN '2000-01-01'
                    WHEN t.typcategory IN ('B', 'N', 'T') THEN '0'
                    ELSE 'invalid' END), ', '))
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
            WHERE a.attrelid = analyzed AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = '')
        INTO place;
    END IF;
    EXECUTE format('ANALYZE %s %s', analyzed,
        (SELECT '(' || string_agg(quote_ident(name), ', ') || ')' FROM unnest(columns) AS c (name)));
    IF is_empty THEN
        EXECUTE format('DELETE FROM %s WHERE ctid = $1', analyzed) USING place;
    END IF;
END $$;

-- Renew the statistics of columns of a table in the schema `event_store` or `operations`.
CREATE OR REPLACE FUNCTION event_store.analyze_columns(table_id oid, columns text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = table_id AND n.nspname IN ('event_store', 'operations');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'expected a table of event_store or operations, found %', table_id::regclass;
    END IF;
    PERFORM event_store.renew_statistics(table_id, columns);
END $$;

-- Trigger function: reject statements that change or delete events. Only the role progress_erasure, under which the
-- erasure procedure runs, may change or delete events; a superuser must first switch to this role.
CREATE OR REPLACE FUNCTION event_store.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user = 'progress_erasure' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'event_store.events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
