-- The records of applied migrations and functions, for progress/adapters/postgres/migrations.py.

-- lock --
SELECT pg_try_advisory_lock(hashtextextended('progress.migrations', 0));

-- unlock --
SELECT pg_advisory_unlock(hashtextextended('progress.migrations', 0));

-- create table --
CREATE TABLE IF NOT EXISTS public.progress_migrations (
    name       text COLLATE "C" PRIMARY KEY,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- create functions table --
CREATE TABLE IF NOT EXISTS public.progress_functions (
    name       text COLLATE "C" PRIMARY KEY, -- the file's path below sql/
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- has tables --
SELECT to_regclass('public.progress_migrations') IS NOT NULL AND to_regclass('public.progress_functions') IS NOT NULL;

-- may migrate --
-- False after a superuser has restored the database as its own.
SELECT coalesce(has_table_privilege(to_regclass('public.progress_functions'), 'INSERT'), true);

-- applied --
SELECT name, checksum FROM public.progress_migrations ORDER BY name;

-- record --
INSERT INTO public.progress_migrations (name, checksum) VALUES (:name, :checksum)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum;

-- last applied --
SELECT max(name) FROM public.progress_migrations;

-- check functions --
SELECT set_config('check_function_bodies', :is_checked, true);

-- applied functions --
SELECT name, checksum FROM public.progress_functions;

-- record function --
INSERT INTO public.progress_functions (name, checksum) VALUES (:name, :checksum)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp();

-- replay letters of learners --
-- Only an ingest that knew less left them, and the new code may know more. Its batch job serves after the release.
UPDATE event_store.dead_letters SET due_at = clock_timestamp() + INTERVAL '1 hour'
WHERE topic = 'learner-events' AND kind <> 'future' AND (replayed_at IS NOT NULL) = false AND discarded_at IS NULL;

-- missing indexes --
-- The indexes that are not there or not valid, for example after a killed build. They are built after the migrations,
-- because a letter's payload may be large and other versions are serving. Without them, only some searches are slower.
SELECT w.name, to_regclass('event_store.' || w.name) IS NOT NULL AS is_invalid
FROM (VALUES ('dead_letters_of_session'), ('dead_letters_large')) AS w (name)
WHERE NOT EXISTS (
    SELECT FROM pg_index i WHERE i.indexrelid = to_regclass('event_store.' || w.name) AND i.indisvalid AND i.indisready)
ORDER BY w.name;

-- drop index --
DROP INDEX {concurrently} event_store.{name};

-- dead_letters_of_session --
CREATE INDEX {concurrently} dead_letters_of_session ON event_store.dead_letters
    (event_store.letter_session(payload) COLLATE "C") WHERE indexes IS NULL;

-- dead_letters_large --
-- What may be an object, judged by its first bytes, and is too large for event_store.letter_session.
CREATE INDEX {concurrently} dead_letters_large ON event_store.dead_letters (letter_id)
    WHERE octet_length(payload) > 4096 AND left(ltrim(left(payload, 64), E' \t\n\r'), 1) IN ('{', '');

-- forget statistics --
-- Statistics would keep the ids of sessions.
DO $$ BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute a
        WHERE a.attrelid = to_regclass('event_store.dead_letters_of_session') AND a.attstattarget IS DISTINCT FROM 0)
    THEN
        ALTER INDEX event_store.dead_letters_of_session ALTER COLUMN 1 SET STATISTICS 0;
    END IF;
END $$;

-- wait briefly --
SET lock_timeout = '10s';

-- wait --
RESET lock_timeout;

-- create refusals --
CREATE TABLE IF NOT EXISTS public.progress_refusals (
    execution text PRIMARY KEY, -- the execution of a Cloud Run job
    reason    text NOT NULL
);

-- record refusal --
INSERT INTO public.progress_refusals (execution, reason) VALUES (:execution, :reason) ON CONFLICT DO NOTHING;

-- refusal --
SELECT reason FROM public.progress_refusals WHERE execution = :execution;
