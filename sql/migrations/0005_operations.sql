-- Operations: what somebody started over the API, its steps, and how far it is. The query function
-- accepts and reads them, the project function carries them out, the batch job looks for those left lying.

CREATE SCHEMA operations;

CREATE TABLE operations.operations (
    operation_id uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    number       bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,  -- in the order of their acceptance
    kind         text        NOT NULL CHECK (kind IN (
                     'REBUILD', 'ERASE_USER', 'EXPORT_USER', 'ARCHIVE', 'REPLAY_DEAD_LETTERS', 'RUN_BATCH')),
    state        text        NOT NULL DEFAULT 'PENDING' CHECK (state IN (
                     'PENDING', 'RUNNING', 'SUCCEEDED', 'COMPENSATING', 'FAILED', 'TIMED_OUT')),
    started_by   text        COLLATE "C" NOT NULL,   -- a caller's id
    key_digest   bytea       NOT NULL,               -- of the idempotency key, which may say anything
    arguments    jsonb       NOT NULL,
    progress     double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    error        text,                               -- addresses masked
    result       jsonb,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),  -- accepted
    finished_at  timestamptz,
    version      bigint      NOT NULL DEFAULT 1,     -- greater after each change, its steps' too
    UNIQUE (started_by, kind, key_digest),
    CHECK ((finished_at IS NULL) = (state IN ('PENDING', 'RUNNING', 'COMPENSATING')))
);
CREATE INDEX operations_unfinished ON operations.operations (number) WHERE finished_at IS NULL;

CREATE TABLE operations.steps (
    operation_id uuid    NOT NULL REFERENCES operations.operations ON DELETE CASCADE,
    place        integer NOT NULL,                   -- from 1, in their order
    name         text    NOT NULL,
    state        text    NOT NULL DEFAULT 'PENDING' CHECK (state IN (
                     'PENDING', 'RUNNING', 'SUCCEEDED', 'COMPENSATING', 'FAILED', 'TIMED_OUT')),
    attempts     integer NOT NULL DEFAULT 0,
    error        text,                               -- of the last attempt, addresses masked
    PRIMARY KEY (operation_id, place),
    UNIQUE (operation_id, name)
);

-- Operations as they are told, with their steps as JSON.
CREATE VIEW operations.told AS
SELECT
    o.operation_id,
    CAST(o.operation_id AS text) AS id,
    o.number, o.version, o.kind, o.state, o.started_by, o.progress, o.error,
    CAST(o.result AS text) AS result,
    o.started_at, o.finished_at,
    (SELECT CAST(coalesce(json_agg(json_build_object('name', s.name, 'state', s.state, 'attempts', s.attempts,
            'error', s.error) ORDER BY s.place), '[]') AS text)
     FROM operations.steps s WHERE s.operation_id = o.operation_id) AS steps
FROM operations.operations o;

-- The operation that this caller started by this key, new or there already. A second one with other
-- arguments starts nothing: `is_same` is then false.
CREATE FUNCTION operations.accept(
    kind text, started_by text, key text, arguments jsonb, steps text[],
    OUT operation_id uuid, OUT is_same boolean, OUT is_finished boolean
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    digest bytea := sha256(convert_to(accept.key, 'UTF8'));
BEGIN
    INSERT INTO operations.operations AS o (kind, started_by, key_digest, arguments)
    VALUES (accept.kind, accept.started_by, digest, accept.arguments)
    ON CONFLICT (started_by, kind, key_digest) DO NOTHING
    RETURNING o.operation_id INTO accept.operation_id;
    INSERT INTO operations.steps (operation_id, place, name)
    SELECT accept.operation_id, s.place, s.name
    FROM unnest(accept.steps) WITH ORDINALITY AS s (name, place)
    WHERE accept.operation_id IS NOT NULL;

    SELECT o.operation_id, o.arguments = accept.arguments, o.finished_at IS NOT NULL
    INTO STRICT accept.operation_id, accept.is_same, accept.is_finished
    FROM operations.operations o
    WHERE o.started_by = accept.started_by AND o.kind = accept.kind AND o.key_digest = digest;
END $$;

-- What the worker of an operation locks, for as long as its connection lives.
CREATE FUNCTION operations.lock_key(operation_id uuid) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT
RETURN hashtextextended('operation ' || operation_id, 0);

-- What a worker, who holds the lock, is to do; no row where it is done. Its steps begin anew.
CREATE FUNCTION operations.take_up(operation_id uuid)
RETURNS TABLE (kind text, arguments jsonb, version bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = 'PENDING'
    FROM operations.operations o
    WHERE s.operation_id = take_up.operation_id AND o.operation_id = s.operation_id AND o.finished_at IS NULL;
    UPDATE operations.operations o SET state = 'RUNNING', version = o.version + 1
    WHERE o.operation_id = take_up.operation_id AND o.finished_at IS NULL
    RETURNING o.kind, o.arguments, o.version;
END;

-- Begins an attempt of a step; the one before it has then succeeded. No row where the step was attempted too
-- often already.
CREATE FUNCTION operations.begin_step(operation_id uuid, name text, most_attempts integer)
RETURNS TABLE (attempts integer, version bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    UPDATE operations.steps s SET state = 'SUCCEEDED', error = NULL
    WHERE s.operation_id = begin_step.operation_id AND s.state = 'RUNNING';
    UPDATE operations.steps s SET state = 'RUNNING', attempts = s.attempts + 1
    WHERE s.operation_id = begin_step.operation_id AND s.name = begin_step.name AND s.attempts < begin_step.most_attempts
    RETURNING s.attempts INTO begin_step.attempts;
    IF FOUND THEN
        UPDATE operations.operations o SET version = o.version + 1
        WHERE o.operation_id = begin_step.operation_id
        RETURNING o.version INTO begin_step.version;
        RETURN NEXT;
    END IF;
END $$;

-- It never falls, whatever begins anew. The new version; null where nothing changed.
CREATE FUNCTION operations.advance(operation_id uuid, progress double precision) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.operations o SET progress = advance.progress, version = o.version + 1
    WHERE o.operation_id = advance.operation_id AND o.finished_at IS NULL AND o.progress < advance.progress
    RETURNING o.version;
END;

-- An attempt failed, and there will be another.
CREATE FUNCTION operations.set_back(operation_id uuid, error text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = 'PENDING', error = set_back.error
    WHERE s.operation_id = set_back.operation_id AND s.state = 'RUNNING';
    UPDATE operations.operations o SET version = o.version + 1
    WHERE o.operation_id = set_back.operation_id AND o.finished_at IS NULL
    RETURNING o.version;
END;

-- The end, good or bad: the step that ran shares it.
CREATE FUNCTION operations.finish(operation_id uuid, state text, error text, result jsonb) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE operations.steps s SET state = finish.state, error = finish.error
    FROM operations.operations o
    WHERE s.operation_id = finish.operation_id AND s.state = 'RUNNING'
      AND o.operation_id = s.operation_id AND o.finished_at IS NULL;
    UPDATE operations.operations o SET state = finish.state, error = finish.error, result = finish.result,
        progress = CASE WHEN finish.state = 'SUCCEEDED' THEN 1 ELSE o.progress END,
        finished_at = clock_timestamp(), version = o.version + 1
    WHERE o.operation_id = finish.operation_id AND o.finished_at IS NULL
    RETURNING o.version;
END;

-- Those that are to be done and that nobody works on.
CREATE FUNCTION operations.unattended() RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT o.operation_id FROM operations.operations o
    WHERE o.finished_at IS NULL AND NOT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND (l.classid::bigint << 32 | l.objid::bigint) = operations.lock_key(o.operation_id))
    ORDER BY o.number;
END;

-- Closes these letters, those of them that wait; how many they were.
CREATE FUNCTION event_store.discard_letters(letter_ids bigint[], reason text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FILTER (WHERE event_store.discard_letter(l.letter_id, discard_letters.reason))
    FROM (SELECT DISTINCT u.id AS letter_id FROM unnest(discard_letters.letter_ids) AS u (id) ORDER BY u.id) l;
END;

-- Letters as an administrator reads them: waiting ones first, the newest of them first.
CREATE INDEX dead_letters_listed ON event_store.dead_letters
    ((replayed_at IS NOT NULL), received_at DESC, letter_id DESC) WHERE discarded_at IS NULL;

REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA operations FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION event_store.discard_letters FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA operations REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

GRANT USAGE ON SCHEMA operations TO progress_project, progress_batch, progress_query;
GRANT SELECT ON operations.operations, operations.steps, operations.told TO progress_query;
GRANT EXECUTE ON FUNCTION operations.accept, event_store.discard_letters TO progress_query;
GRANT EXECUTE ON FUNCTION operations.lock_key, operations.take_up, operations.begin_step, operations.advance,
    operations.set_back, operations.finish TO progress_project;
GRANT EXECUTE ON FUNCTION operations.unattended TO progress_batch;

-- What the project function does for an administrator: run the batch job, and replay letters.
GRANT SELECT ON event_store.dead_letters TO progress_project;
GRANT EXECUTE ON FUNCTION event_store.append, event_store.mark_replayed, event_store.mark_failed, event_store.take_back
    TO progress_project;
