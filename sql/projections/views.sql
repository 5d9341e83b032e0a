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
-- A column has the comment that follows it in the block `table`. replace_views copies it to the view.
{column_comments}

-- comment --
COMMENT ON COLUMN {table}.{column} IS '{meaning}';
