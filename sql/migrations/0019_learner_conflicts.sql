-- How many posted events of a learner were dropped on a UTC day, because their id had other content: an app that uses
-- an id twice. The append counts them instead of keeping them as dead letters, which nobody could repair.
CREATE TABLE event_store.learner_conflicts (
    user_id   text COLLATE "C" NOT NULL,
    day       date             NOT NULL,
    conflicts bigint           NOT NULL,
    PRIMARY KEY (user_id, day)
);
