-- Replace the views of the schema progress by one view for each of the models in the schema `source`. Return null, or
-- the reason why the former views stay: for example, a query has used one of them for over a second. One statement
-- drops all views, because a query that locks several views could otherwise deadlock with this function.
CREATE OR REPLACE FUNCTION progress.replace_views(source text, models text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $replace$
DECLARE
    former text;
    model  text;
BEGIN
    SELECT string_agg(format('progress.%I', viewname), ', ' ORDER BY viewname) INTO former
    FROM pg_views
    WHERE schemaname = 'progress';
    IF former IS NOT NULL THEN
        EXECUTE 'DROP VIEW ' || former;
    END IF;
    FOREACH model IN ARRAY models LOOP
        EXECUTE format('CREATE VIEW progress.%1$I AS SELECT * FROM %2$I.%1$I', model, source);
    END LOOP;
    RETURN NULL;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR dependent_objects_still_exist THEN
    RETURN SQLERRM;
END
$replace$;

ALTER FUNCTION progress.replace_views OWNER TO progress_project;
REVOKE EXECUTE ON FUNCTION progress.replace_views FROM PUBLIC;
GRANT EXECUTE ON FUNCTION progress.replace_views TO progress_batch;
