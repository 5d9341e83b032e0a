-- Give the tables of version 0.1.0 what 0001_event_store.sql has gained since that version.
ALTER TABLE event_store.poisoned RENAME COLUMN set_aside_at TO quarantined_at;
ALTER TABLE event_store.snapshots RENAME COLUMN set_aside TO quarantined;
CREATE INDEX events_by_type ON event_store.events (event_type, global_position);

-- 0014 drops the function that this one calls; the function files create it again.
DROP FUNCTION event_store.discard_letters(bigint[], text);
