-- The learners whose erasure RETENTION_MONTHS has announced. The batch job makes the rows, and deletes them if an event
-- of the learner is recorded; the erasure itself deletes them, too.
CREATE TABLE event_store.erasure_announcements (
    user_id         text COLLATE "C" PRIMARY KEY,
    announcement_id uuid        NOT NULL DEFAULT gen_random_uuid(),
    shard           smallint    NOT NULL,   -- of the learner's stream
    silent_since    timestamptz NOT NULL,   -- when the learner's newest event was recorded
    erase_on        date        NOT NULL,   -- in UTC
    announced_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at    timestamptz             -- when Pub/Sub had accepted the announcement
);
CREATE INDEX erasure_announcements_to_publish ON event_store.erasure_announcements (shard) WHERE published_at IS NULL;
