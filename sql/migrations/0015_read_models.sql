-- The read models that are live: built, and not dropped. The workers of every revision fold each of them.

CREATE TABLE event_store.read_models (
    schema      text        COLLATE "C" PRIMARY KEY,
    fingerprint text        COLLATE "C" NOT NULL,
    interface   integer     NOT NULL,   -- the version of the functions that workers call in the schema
    built_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    read_until  timestamptz             -- when a query function last said that it reads the schema; null: never
);

-- Functions before version 0.4. The read models of version 0.3 now leave out by themselves what these marked for them.
DROP FUNCTION IF EXISTS event_store.watch_for_former_schemas();
DROP FUNCTION IF EXISTS event_store.mark_for_former_schemas() CASCADE;
