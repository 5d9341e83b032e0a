-- What leaves the system on the topic progress-events: the publisher's checkpoints and the marks of milestones. Both
-- are outside the schemas of the read models, so that a rebuild publishes nothing again.

CREATE TABLE event_store.publisher_checkpoints (
    shard      smallint PRIMARY KEY,
    position   bigint NOT NULL,   -- the shard's events up to here are published, or never will be
    mark       bigint NOT NULL,   -- the same for its marks, by their numbers
    is_before_milestones boolean NOT NULL DEFAULT false,  -- the read model `milestones` has never been built
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- What was recorded before the publisher existed is not published.
INSERT INTO event_store.publisher_checkpoints (shard, position, mark, is_before_milestones)
SELECT s, e.position, 0, true
FROM generate_series(0, 15) s
CROSS JOIN LATERAL (SELECT max(global_position) AS position FROM event_store.events WHERE shard = s) e
WHERE e.position IS NOT NULL;

-- A milestone that is told: published, and sent to the subscribers of the learner. It is told once, whatever becomes of
-- the milestone in the read models.
CREATE TABLE event_store.milestone_marks (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,  -- ascends in the order of the commits of a shard
    shard      smallint NOT NULL,                                -- of the learner's stream
    user_id    text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    value      bigint,
    level      text COLLATE "C",
    reached_on date NOT NULL,
    is_told    boolean NOT NULL,   -- false: it was reached before the first build of the read model
    marked_at  timestamptz NOT NULL DEFAULT clock_timestamp()    -- committed with the milestone
);
CREATE INDEX milestone_marks_to_publish ON event_store.milestone_marks (shard, number) WHERE is_told;
CREATE INDEX milestone_marks_of_learner ON event_store.milestone_marks (user_id, number) WHERE is_told;
-- The identity of a milestone: learner, kind, value and level; of GOAL_MET: learner, kind and day.
CREATE UNIQUE INDEX milestone_marks_identity ON event_store.milestone_marks (
    user_id, kind, level, (CASE WHEN kind <> 'GOAL_MET' THEN value END),
    (CASE WHEN kind = 'GOAL_MET' THEN reached_on END)) NULLS NOT DISTINCT;

GRANT SELECT, INSERT, UPDATE ON event_store.publisher_checkpoints TO progress_project, progress_batch;
GRANT SELECT, INSERT ON event_store.milestone_marks TO progress_project, progress_batch;
GRANT DELETE ON event_store.milestone_marks TO progress_project;  -- an erasure removes the learner's marks
