-- The trace of who read a learner's record. It is outside the schemas of the read models, so that it survives rebuilds
-- and restores of them. Nobody may insert: event_store.record_accesses appends.
CREATE TABLE event_store.accesses (
    user_id text        COLLATE "C" NOT NULL,  -- the learner
    hour    timestamptz NOT NULL,              -- UTC
    read_by text        COLLATE "C" NOT NULL,  -- another caller's id, or system:…; of an erased caller, the id's digest
    role    text        COLLATE "C" NOT NULL,  -- admin, support, teacher, system
    PRIMARY KEY (user_id, hour, read_by, role)
);
CREATE INDEX accesses_by_hour ON event_store.accesses (hour);        -- the batch job deletes old ones
CREATE INDEX accesses_by_reader ON event_store.accesses (read_by);   -- an erasure renames the reader

GRANT SELECT ON event_store.accesses TO progress_project;
GRANT SELECT, DELETE ON event_store.accesses TO progress_batch;
