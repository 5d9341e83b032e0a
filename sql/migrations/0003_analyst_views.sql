-- The schema of the views through which analysts read the read models, and the role that may read these views.

DO $$ BEGIN
    IF to_regrole('progress_analyst') IS NULL THEN
        CREATE ROLE progress_analyst NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;  -- another database of this server has just created it
END $$;

CREATE SCHEMA progress AUTHORIZATION progress_project;
GRANT USAGE ON SCHEMA progress TO progress_analyst;
ALTER DEFAULT PRIVILEGES FOR ROLE progress_project IN SCHEMA progress GRANT SELECT ON TABLES TO progress_analyst;
