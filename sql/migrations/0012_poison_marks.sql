-- The marks of poisoned events belong to the folds that failed. The builds of definitions of milestones are recorded.

-- Events that make a fold fail. Only folds with this fingerprint leave the event out. The table `poisoned` and the
-- functions `quarantine` and `release` belong to the schemas of version 0.3 and before.
CREATE TABLE event_store.poison_marks (
    fingerprint     text        COLLATE "C" NOT NULL,  -- '': copied below, for the next new schema
    global_position bigint      NOT NULL,
    error           text        NOT NULL,
    quarantined_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (fingerprint, global_position)
);
CREATE INDEX poison_marks_of_event ON event_store.poison_marks (global_position);

INSERT INTO event_store.poison_marks (fingerprint, global_position, error, quarantined_at)
SELECT '', p.global_position, p.error, p.quarantined_at FROM event_store.poisoned p;

-- The definitions of milestones that read models were built with (sql/read_models/milestones.sql). The first build of a
-- definition tells nothing that was reached before it.
CREATE TABLE event_store.milestone_definitions (
    definition text COLLATE "C" PRIMARY KEY,
    changed_at timestamptz   -- when it replaced another one; null: it did not
);
