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
    name       text COLLATE "C" PRIMARY KEY, -- a file's path below sql/, or a function's name with ()
    checksum   text        NOT NULL,         -- of a file: and the server's major version, which functions may ask
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- has tables --
SELECT to_regclass('public.progress_migrations') IS NOT NULL AND to_regclass('public.progress_functions') IS NOT NULL;

-- may migrate --
-- False after a superuser has restored the database as its own.
SELECT coalesce(has_table_privilege(to_regclass('public.progress_functions'), 'INSERT'), true);

-- applied --
SELECT name, checksum FROM public.progress_migrations ORDER BY name;

-- is invalid --
SELECT FROM pg_index WHERE indexrelid = to_regclass(:index) AND NOT indisvalid;

-- drop index --
DROP INDEX CONCURRENTLY {index};

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

-- routines --
-- The functions by name, each with what its text says; roles.sql compares owners and privileges.
SELECT format('%s.%s()', n.nspname, p.proname) AS name, md5(string_agg(concat_ws(' ', p.prosrc, p.prosqlbody,
    p.prosecdef, p.provolatile, p.proisstrict, p.proleakproof, p.proparallel, p.proretset, p.prorettype, p.proargtypes,
    p.proargnames, p.proargdefaults, p.proconfig), ' ' ORDER BY p.oid)) AS checksum
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('event_store', 'operations', 'progress')
GROUP BY n.nspname, p.proname

-- changed routines --
SELECT name FROM (SELECT * FROM public.progress_functions WHERE name LIKE '%()') AS f
FULL JOIN ({adapters/migrations routines}) AS r USING (name)
WHERE f.checksum IS DISTINCT FROM r.checksum ORDER BY name;

-- forget routines --
-- A migration has made event_uuid, and no file makes it anew: it is found until somebody mends it.
DELETE FROM public.progress_functions WHERE name LIKE '%()' AND name <> 'event_store.event_uuid()';

-- record routines --
INSERT INTO public.progress_functions (name, checksum) {adapters/migrations routines} ON CONFLICT DO NOTHING;

-- create refusals --
CREATE TABLE IF NOT EXISTS public.progress_refusals (
    execution text PRIMARY KEY, -- the execution of a Cloud Run job
    reason    text NOT NULL
);

-- record refusal --
INSERT INTO public.progress_refusals (execution, reason) VALUES (:execution, :reason) ON CONFLICT DO NOTHING;

-- refusal --
SELECT reason FROM public.progress_refusals WHERE execution = :execution;
