-- Search every text column of every table for the learner's id, but skip the given operation; return the tables and the
-- number of rows found. `is_other`: the rows are events of somebody else, which an erasure does not change.
CREATE OR REPLACE FUNCTION event_store.search_learner(learner text, operation_id uuid)
RETURNS TABLE (place text, is_other boolean, how_many bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    named      text := event_store.mention_pattern(learner, is_free => false);
    free       text := event_store.mention_pattern(learner, is_free => true);
    forms      text[] := event_store.mention_forms(learner);
    searched   record;
    conditions text;
BEGIN
    FOR searched IN
        SELECT c.oid::regclass AS name, c.oid = 'event_store.events'::regclass AS is_log,
            c.oid = 'operations.operations'::regclass AS is_operations,
            array_agg(format(CASE
                WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN 'event_store.mentions(%I, $1, $3)'
                WHEN a.atttypid IN ('text[]'::regtype, 'varchar[]'::regtype)
                    THEN 'event_store.mentions(to_jsonb(%I)::text, $1, $2)'
                ELSE 'event_store.mentions(%I::text, $1, $2)' END, a.attname)) AS columns
        FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
          AND n.nspname NOT LIKE 'pg\_%' AND has_table_privilege(c.oid, 'SELECT')
          AND (a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype)
               OR a.atttypid IN ('text[]'::regtype, 'varchar[]'::regtype))
        GROUP BY c.oid
    LOOP
        conditions := array_to_string(searched.columns, ' OR ');
        IF searched.is_operations THEN
            conditions := format('operation_id <> %L AND (%s)', operation_id, conditions);
        END IF;
        place := searched.name::text;
        FOR is_other, how_many IN EXECUTE format('SELECT %s, count(*) FROM %s WHERE %s GROUP BY 1',
            CASE WHEN searched.is_log THEN format('stream_id <> %L', 'learner-' || learner) ELSE 'false' END,
            searched.name, conditions) USING forms, named, free
        LOOP
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.search_learner FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.search_learner TO progress_project;
