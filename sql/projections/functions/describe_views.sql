-- Comment on each column of the views of the schema progress: what it holds, and in which unit. A column has the
-- comment of its column in the schema `source`; what replace_views adds has its text here.
DROP FUNCTION IF EXISTS progress.describe_views();
CREATE OR REPLACE FUNCTION progress.describe_views(source text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $describe$
DECLARE
    described record;
BEGIN
    FOR described IN
        WITH texts (attname, meaning) AS (VALUES
            ('capped_ms', 'the same as response_ms, its former name, in milliseconds'),
            ('recalled', 'whether the answer of asked_at was correct'),
            ('stability_days', 'days until the estimated recall (FSRS-6) is 0.9; null without an answer'),
            ('difficulty_1_to_10', 'difficulty by FSRS-6, 1 (easy) to 10 (hard); null without an answer')
        )
        SELECT c.relname, a.attname, coalesce(col_description(s.attrelid, s.attnum), t.meaning) AS meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attribute s
            ON s.attrelid = to_regclass(format('%I.%I', source, c.relname)) AND s.attname = a.attname
        LEFT JOIN texts t ON t.attname = a.attname
        WHERE c.relnamespace = 'progress'::regnamespace AND c.relkind = 'v'
    LOOP
        EXECUTE format('COMMENT ON COLUMN progress.%I.%I IS %L',
            described.relname, described.attname, described.meaning);
    END LOOP;
END
$describe$;
