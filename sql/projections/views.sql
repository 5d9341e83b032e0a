-- The views of the schema progress.

-- source --
-- The schema of read models that the views read; no row if there are no views.
SELECT DISTINCT source.nspname
FROM pg_namespace n
JOIN pg_class v ON v.relnamespace = n.oid
JOIN pg_rewrite r ON r.ev_class = v.oid
JOIN pg_depend d ON d.classid = CAST('pg_rewrite' AS regclass) AND d.objid = r.oid
    AND d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid <> v.oid
JOIN pg_class t ON t.oid = d.refobjid
JOIN pg_namespace source ON source.oid = t.relnamespace
WHERE n.nspname = 'progress';

-- replace --
SELECT progress.replace_views(:source, CAST(:models AS text[]));

-- comments --
-- A column has the comment beside it in the block `table`, or else that of its name. describe_views copies it.
DO $describe$
DECLARE
    described record;
BEGIN
    FOR described IN
        WITH texts (relname, attname, meaning) AS (VALUES
            {column_comments}
        )
        SELECT c.relname, a.attname, coalesce(own.meaning, shared.meaning) AS meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN texts own ON own.relname = c.relname AND own.attname = a.attname
        LEFT JOIN texts shared ON shared.relname = '' AND shared.attname = a.attname
        WHERE c.relnamespace = CAST(current_schema() AS regnamespace) AND c.relkind IN ('r', 'v')
            AND coalesce(own.meaning, shared.meaning) IS NOT NULL
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', described.relname, described.attname, described.meaning);
    END LOOP;
END
$describe$;
