-- What the batch job deletes or erases after a time: closed dead letters, and learners who were deleted.

CREATE INDEX dead_letters_closed ON event_store.dead_letters ((coalesce(replayed_at, discarded_at)))
    WHERE coalesce(replayed_at, discarded_at) IS NOT NULL;
GRANT DELETE ON event_store.dead_letters TO progress_batch;

GRANT SELECT (kind, subject) ON operations.operations TO progress_batch;
