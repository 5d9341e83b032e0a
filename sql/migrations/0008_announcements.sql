-- The events that learners have published with a mutation, until they are recorded. Without Redis, every instance of
-- the query function finds them here.
CREATE TABLE event_store.announcements (
    user_id      text COLLATE "C" NOT NULL,
    scope        text COLLATE "C" NOT NULL,  -- a new event is checked against the announced events of its scope
    event_id     text COLLATE "C" NOT NULL,
    content      text NOT NULL,              -- JSON
    announced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, scope, event_id)
);
CREATE INDEX announcements_by_age ON event_store.announcements (announced_at);
