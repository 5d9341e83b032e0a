-- Write directly to the read models, for states that would otherwise need many events.

-- insert --
INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, CAST(:rows AS jsonb));

-- empty levels --
DELETE FROM catalogue_counts;
DELETE FROM catalogue_shares;
DELETE FROM mastery_days;

-- empty members --
DELETE FROM group_members;
DELETE FROM group_names;

-- empty names --
DELETE FROM user_progress;
DELETE FROM display_names;

-- a null --
ALTER TABLE item_stats ALTER answers DROP NOT NULL;
UPDATE item_stats SET answers = NULL;

-- another type --
ALTER TABLE daily_stats ALTER answers TYPE double precision;

-- a missing column --
ALTER TABLE daily_stats RENAME COLUMN items_learned TO items_lost;

-- not a number --
UPDATE item_stats SET easiness_factor = 'NaN';

-- an infinite number --
UPDATE item_stats SET easiness_factor = 'Infinity';

-- an unknown level --
UPDATE items SET level = 'X9';

-- an unknown domain --
UPDATE items SET domains = '{R,X}';

-- events --
INSERT INTO events (global_position, event_id, stream_id, stream_version, event_type, event_data,
    metadata, occurred_at, created_at, shard)
SELECT n, gen_random_uuid(), 'learner-' || :user_id, n,
    CASE WHEN n % 3 = 0 THEN 'CorrectAnswerGiven' ELSE 'ReviewProcessed' END,
    jsonb_build_object('number', n), jsonb_build_object('correlation_id', 'c' || n),
    timestamptz '2024-03-01 00:00:00.123456Z' - n * interval '1 hour',
    timestamptz '2024-03-01 00:00:00Z' + n * interval '1 second',
    event_store.shard_of('learner-' || :user_id)
FROM generate_series(1, CAST(:events AS bigint)) AS n;

-- columns --
SELECT * FROM {table} LIMIT 0;

-- empty --
DELETE FROM item_stats;
DELETE FROM items;
ALTER TABLE events DISABLE TRIGGER USER;
DELETE FROM events;

-- drop --
DO $$ BEGIN EXECUTE format('DROP SCHEMA %I CASCADE', current_schema()); END $$;

-- fold_case --
SELECT event_store.fold_case(CAST(:text AS text));

-- fill a group --
INSERT INTO group_members SELECT 'large', n, now(), gen_random_uuid(), true FROM generate_series(1, 10000) n;
