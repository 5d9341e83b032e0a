-- Renew the planner's statistics of the given columns, because the statistics may contain values from erased rows. The
-- table must be in the schema `event_store` or `operations`.
CREATE OR REPLACE FUNCTION event_store.analyze_columns(table_id oid, columns text[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = table_id AND n.nspname IN ('event_store', 'operations');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'expected a table of event_store or operations, found %', table_id::regclass;
    END IF;
    EXECUTE format('ANALYZE %s (%s)', table_id::regclass,
        (SELECT string_agg(quote_ident(name), ', ') FROM unnest(columns) AS c (name)));
END $$;

REVOKE EXECUTE ON FUNCTION event_store.analyze_columns FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.analyze_columns TO progress_project;
