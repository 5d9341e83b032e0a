-- The records of applied migrations and functions, for progress/adapters/postgres/migrations.py.

-- lock --
SELECT pg_advisory_lock(hashtextextended('progress.migrations', 0));

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
    checksum   text        NOT NULL,         -- then the server's major version, by which functions may choose
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

-- stand in for parser --
-- Indexes that a later migration drops call this function and the next one for each dead letter of a dump.
CREATE FUNCTION event_store.parse_payload(payload text) RETURNS json LANGUAGE sql IMMUTABLE RETURN NULL::json;

-- stand in for id --
CREATE FUNCTION event_store.id_in(field json) RETURNS text LANGUAGE sql IMMUTABLE RETURN NULL::text;

-- applied functions --
SELECT name, split_part(checksum, ' ', 1) FROM public.progress_functions
WHERE split_part(checksum, ' ', 2) = {adapters/migrations major};

-- major --
CAST(CAST(current_setting('server_version_num') AS integer) / 10000 AS text)

-- record function --
INSERT INTO public.progress_functions (name, checksum)
VALUES (:name, concat(CAST(:checksum AS text), ' ', {adapters/migrations major}))
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp();

-- replay letters of learners --
-- Only an ingest that knew less left them, and the new code may know more. Its batch job serves after the release.
UPDATE event_store.dead_letters SET due_at = clock_timestamp() + INTERVAL '1 hour'
WHERE topic = 'learner-events' AND kind <> 'future' AND (replayed_at IS NOT NULL) = false AND discarded_at IS NULL;

-- create refusals --
CREATE TABLE IF NOT EXISTS public.progress_refusals (
    execution text PRIMARY KEY, -- the execution of a Cloud Run job
    reason    text NOT NULL
);

-- record refusal --
INSERT INTO public.progress_refusals (execution, reason) VALUES (:execution, :reason) ON CONFLICT DO NOTHING;

-- refusal --
SELECT reason FROM public.progress_refusals WHERE execution = :execution;
