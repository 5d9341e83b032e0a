-- The functions' roles: groups that cannot log in. A deployment's users are members of them.
-- Roles belong to the whole server, so that another database may have made them already, or
-- may be making them at this moment.

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['progress_ingest', 'progress_project', 'progress_batch',
                                  'progress_query', 'progress_erasure'] LOOP
        IF to_regrole(wanted) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
    -- Whoever migrates gives that role's new tables their default rights, and needs its own.
    -- From 16 on, having made it makes one a member without its rights.
    IF NOT pg_has_role('progress_project', 'USAGE') THEN
        EXECUTE format('GRANT progress_project TO %I', current_user);
    END IF;
END $$;
