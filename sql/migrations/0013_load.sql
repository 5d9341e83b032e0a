-- The group of Dataflow's workers, which load the buckets of a rebuild from the archive. It has privileges only while a
-- rebuild loads, and only on the tables that are loaded (sql/recovery/archive_rebuild.sql).
-- Roles belong to the whole server, so that another database may have made it already, or may be making it now.

DO $$ BEGIN
    IF to_regrole('progress_load') IS NULL THEN
        CREATE ROLE progress_load NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END $$;
