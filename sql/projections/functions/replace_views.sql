-- Replace the views of the schema progress by one view for each of the models in the schema `source`. Return null, or
-- the reason why the former views stay: for example, a query has used one of them for almost a second. The limit is for
-- all locks together, and below PostgreSQL's deadlock_timeout: if a query that reads several views and this function
-- wait for each other, this function gives way, and the query does not fail.
-- A view has the columns of its table but those that only folds read, the state of memory (sql/read_models/memory.sql)
-- in days and from 1 to 10, and columns of former versions that analysts may use.
CREATE OR REPLACE FUNCTION progress.replace_views(source text, models text[]) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '900ms' AS $replace$
DECLARE
    until_time constant timestamptz := clock_timestamp() + current_setting('lock_timeout')::interval;
    former name;
    model  text;
    columns text;
BEGIN
    IF source !~ '^progress_[0-9a-f]{12}(_|$)' THEN
        RAISE 'expected the schema of a version''s read models, found %', source USING ERRCODE = 'invalid_schema_name';
    END IF;
    -- Two calls at the same time, as of a release and of a rebuild, would drop and create each other's views.
    PERFORM pg_advisory_xact_lock(hashtextextended('progress.replace_views', 0));
    -- In any fixed order, queries that read the same views in another order could make each try end in a deadlock.
    FOR former IN SELECT viewname FROM pg_views WHERE schemaname = 'progress' ORDER BY random() LOOP
        PERFORM set_config('lock_timeout',
            CAST(greatest(1, extract(epoch FROM until_time - clock_timestamp()) * 1000)::int AS text), true);
        -- The temporary views and functions of an idle session must not keep a former schema: they are dropped, too.
        EXECUTE format('DROP VIEW progress.%I %s', former, CASE WHEN EXISTS (
            SELECT FROM pg_class v
            JOIN pg_type t ON t.oid = v.reltype
            JOIN pg_depend d ON d.refobjid IN (v.oid, t.oid, t.typarray) AND d.deptype = 'n'
            CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS dependent
            WHERE v.oid = format('progress.%I', former)::regclass AND dependent.identity !~ '(^| on )pg_temp'
              AND dependent.identity <> format('"_RETURN" on progress.%I', former)   -- itself, before PostgreSQL 16
        ) THEN 'RESTRICT' ELSE 'CASCADE' END);
    END LOOP;
    FOREACH model IN ARRAY models LOOP
        SELECT string_agg(c.expression, ', ' ORDER BY c.is_added, c.attnum) INTO columns
        FROM (
            SELECT a.attnum, quote_ident(a.attname) AS expression, false AS is_added
            FROM pg_attribute a
            WHERE a.attrelid = format('%I.%I', source, model)::regclass AND a.attnum > 0 AND NOT a.attisdropped
              AND NOT (model = 'learner_sessions'
                  AND a.attname IN ('begun_at', 'begun_id', 'first_position', 'last_position'))
            UNION ALL
            SELECT a.attnum, n.expression, true
            FROM (VALUES
                ('item_stats', 'stability', 'exp(stability / 1e7::float8) AS stability_days'),
                ('item_stats', 'difficulty', 'difficulty / 1e7::float8 AS difficulty_1_to_10'),
                ('item_stats', 'asked_grade', 'asked_grade >= 2 AS recalled'),
                ('daily_stats', 'timed_answers', 'response_ms AS capped_ms')
            ) AS n (relname, attname, expression)
            JOIN pg_attribute a ON a.attrelid = format('%I.%I', source, model)::regclass AND a.attname = n.attname
            WHERE n.relname = model
        ) c;
        EXECUTE format('CREATE VIEW progress.%1$I AS SELECT %3$s FROM %2$I.%1$I', model, source, columns);
    END LOOP;
    PERFORM progress.describe_views(source);
    RETURN NULL;
EXCEPTION WHEN lock_not_available OR deadlock_detected OR dependent_objects_still_exist THEN
    RETURN SQLERRM;
END
$replace$;
