-- Operations that a caller, the command line or the batch job starts, with their steps. The query function accepts and
-- reads operations, the project function runs them, and the batch job finds those that no worker runs. An operation
-- resumes at its first incomplete step; it can be compensated, cancelled and retried.

CREATE SCHEMA operations;

CREATE TABLE operations.operations (
    operation_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    number         bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,  -- in the order of their acceptance
    kind           text        NOT NULL CHECK (kind IN (
                       'REBUILD', 'ERASE_USER', 'EXPORT_USER', 'ARCHIVE', 'REPLAY_DEAD_LETTERS', 'RUN_BATCH',
                       'EXPORT_STATISTICS')),
    state          text        NOT NULL DEFAULT 'PENDING' CHECK (state IN (
                       'PENDING', 'RUNNING', 'SUCCEEDED', 'COMPENSATING', 'FAILED', 'TIMED_OUT')),
    started_by     text        COLLATE "C" NOT NULL,   -- a caller's id
    key_digest     bytea       NOT NULL,               -- of the idempotency key, which may be any text
    arguments      jsonb       NOT NULL,
    progress       double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    error          text,                               -- e-mail addresses masked
    result         jsonb,
    started_at     timestamptz NOT NULL DEFAULT clock_timestamp(),  -- accepted
    finished_at    timestamptz,
    version        bigint      NOT NULL DEFAULT 1,     -- rises with each change of the operation or of its steps
    subject        text        COLLATE "C",            -- only one unfinished operation of a kind has it
    requesters     text[]      NOT NULL DEFAULT '{}',  -- every caller who asked for this operation
    expires_at     timestamptz NOT NULL DEFAULT clock_timestamp() + interval '24 hours',
    cancelled_by   text        COLLATE "C",
    is_irrevocable boolean     NOT NULL DEFAULT false, -- its point of no return has begun
    failing_state  text        CHECK (failing_state IN ('FAILED', 'TIMED_OUT')),  -- the end, while COMPENSATING
    UNIQUE (started_by, kind, key_digest),
    CHECK ((finished_at IS NULL) = (state IN ('PENDING', 'RUNNING', 'COMPENSATING')))
);
CREATE INDEX operations_unfinished ON operations.operations (number) WHERE finished_at IS NULL;
CREATE UNIQUE INDEX operations_one_by_subject ON operations.operations (kind, subject) WHERE finished_at IS NULL;
CREATE INDEX operations_finished ON operations.operations (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE operations.steps (
    operation_id   uuid    NOT NULL REFERENCES operations.operations ON DELETE CASCADE,
    place          integer NOT NULL,                   -- from 1, in their order
    name           text    NOT NULL,
    state          text    NOT NULL DEFAULT 'PENDING' CHECK (state IN (
                       'PENDING', 'RUNNING', 'SUCCEEDED', 'COMPENSATING', 'FAILED', 'TIMED_OUT')),
    attempts       integer NOT NULL DEFAULT 0,
    error          text,                               -- of the last attempt, e-mail addresses masked
    outcome        jsonb   CHECK (octet_length(CAST(outcome AS text)) <= 65536),
    compensations  integer NOT NULL DEFAULT 0,         -- attempts to compensate the step
    is_compensated boolean NOT NULL DEFAULT false,
    PRIMARY KEY (operation_id, place),
    UNIQUE (operation_id, name)
);

-- Operations as the API returns them, with their steps as JSON.
CREATE VIEW operations.records AS
SELECT
    o.operation_id,
    CAST(o.operation_id AS text) AS id,
    o.number, o.version, o.kind, o.state, o.started_by, o.progress, o.error,
    CAST(o.result AS text) AS result,
    o.started_at, o.finished_at,
    (SELECT CAST(coalesce(json_agg(json_build_object('name', s.name, 'state', s.state, 'attempts', s.attempts,
            'error', s.error) ORDER BY s.place), '[]') AS text)
     FROM operations.steps s WHERE s.operation_id = o.operation_id) AS steps,
    o.subject, o.requesters
FROM operations.operations o;

-- An operation may end after its caller was erased. The function file replaces the body.
CREATE FUNCTION operations.forget_callers() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER forget_callers BEFORE UPDATE ON operations.operations
    FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION operations.forget_callers();

GRANT USAGE ON SCHEMA operations TO progress_project, progress_batch, progress_query;
GRANT SELECT ON operations.operations, operations.steps, operations.records TO progress_query;
GRANT SELECT, UPDATE ON operations.operations, operations.steps TO progress_project;
GRANT SELECT (operation_id, kind, subject, finished_at), DELETE ON operations.operations TO progress_batch;
