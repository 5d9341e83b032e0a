-- The role of the jobs that back up the read models and dump the log.

DO $$ BEGIN
    IF to_regrole('progress_backup') IS NULL THEN
        CREATE ROLE progress_backup NOLOGIN;
    END IF;
    IF NOT pg_has_role('progress_backup', 'progress_query', 'USAGE') THEN
        GRANT progress_query TO progress_backup;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server has just done the same
END $$;

GRANT SELECT ON event_store.erasure_key TO progress_backup;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA event_store, operations TO progress_backup;
