-- Take the functions of advisory locks and of large objects from PUBLIC, because analysts could stop the service with
-- them. Only a superuser may do so. Elsewhere, as in Cloud SQL and Neon, the batch job ends what analysts hold
-- (sql/event_store/functions/analysts.sql).

DO $$
DECLARE
    called regprocedure;
BEGIN
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        RETURN;
    END IF;
    FOR called IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace
          AND (p.proname ~ '^pg_(try_)?advisory_' OR p.proname ~ '^lo_' OR p.proname IN ('loread', 'lowrite'))
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', called);
        EXECUTE format(
            'GRANT EXECUTE ON FUNCTION %s TO pg_database_owner, progress_ingest, progress_project, progress_batch,'
            ' progress_query, progress_load, progress_erasure, progress_backup', called);
    END LOOP;
END $$;
