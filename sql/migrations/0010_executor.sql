-- Operations that resume at their first incomplete step, are compensated, cancelled and retried.

ALTER TABLE operations.operations
    DROP CONSTRAINT operations_kind_check,
    ADD CONSTRAINT operations_kind_check CHECK (kind IN (
        'REBUILD', 'ERASE_USER', 'EXPORT_USER', 'ARCHIVE', 'REPLAY_DEAD_LETTERS', 'RUN_BATCH', 'EXPORT_STATISTICS')),
    ADD COLUMN subject        text COLLATE "C",                  -- only one unfinished operation of a kind has it
    ADD COLUMN requesters     text[] NOT NULL DEFAULT '{}',      -- every caller who asked for this operation
    ADD COLUMN expires_at     timestamptz NOT NULL DEFAULT clock_timestamp() + interval '24 hours',
    ADD COLUMN cancelled_by   text COLLATE "C",
    ADD COLUMN is_irrevocable boolean NOT NULL DEFAULT false,   -- its point of no return has begun
    ADD COLUMN failing_state  text CHECK (failing_state IN ('FAILED', 'TIMED_OUT'));  -- the end, while COMPENSATING

CREATE UNIQUE INDEX operations_one_by_subject ON operations.operations (kind, subject) WHERE finished_at IS NULL;
CREATE INDEX operations_finished ON operations.operations (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE operations.steps
    ADD COLUMN outcome        jsonb CHECK (octet_length(CAST(outcome AS text)) <= 65536),
    ADD COLUMN compensations  integer NOT NULL DEFAULT 0,       -- attempts to compensate the step
    ADD COLUMN is_compensated boolean NOT NULL DEFAULT false;

UPDATE operations.operations SET requesters = ARRAY[started_by];

-- operations.told is still read by the version before this one.
CREATE VIEW operations.records AS
SELECT t.*, o.subject, o.requesters
FROM operations.told t JOIN operations.operations o USING (operation_id);

GRANT SELECT ON operations.records TO progress_query;
GRANT SELECT, UPDATE ON operations.operations, operations.steps TO progress_project;
GRANT SELECT (operation_id, finished_at), DELETE ON operations.operations TO progress_batch;

-- The version before this one still calls these functions. A later migration drops them.
COMMENT ON FUNCTION operations.accept(text, text, text, jsonb, text[]) IS 'Obsolete: operations.accept with a subject';
COMMENT ON FUNCTION operations.take_up IS 'Obsolete: the block "claim" of sql/operations/operations.sql';
COMMENT ON FUNCTION operations.begin_step IS 'Obsolete: the block "begin step"';
COMMENT ON FUNCTION operations.advance IS 'Obsolete: the block "record progress"';
COMMENT ON FUNCTION operations.set_back IS 'Obsolete: the block "set step"';
COMMENT ON FUNCTION operations.finish IS 'Obsolete: the block "finish"';
