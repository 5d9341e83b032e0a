-- What the batch job deletes or erases after a time: closed dead letters, and learners who were deleted. The ledger of
-- erasures keeps the key of the digests.

CREATE INDEX dead_letters_closed ON event_store.dead_letters ((coalesce(replayed_at, discarded_at)))
    WHERE coalesce(replayed_at, discarded_at) IS NOT NULL;
GRANT DELETE ON event_store.dead_letters TO progress_batch;

GRANT SELECT ON event_store.erasure_key TO progress_project;  -- it writes the key into the ledger
GRANT SELECT (kind, subject) ON operations.operations TO progress_batch;
