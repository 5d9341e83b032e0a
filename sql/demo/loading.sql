-- Queries on the event log before the demo loads events.

-- missing --
-- The given events that are not recorded yet.
SELECT CAST(wanted.event_id AS text)
FROM unnest(CAST(:event_ids AS uuid[])) AS wanted (event_id)
WHERE NOT EXISTS (SELECT FROM event_store.events e WHERE e.event_id = wanted.event_id);

-- is erased --
SELECT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(:learner));
