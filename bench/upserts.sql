-- Bare upserts of the rows that live folds write: the rows are captured after each window, and written again.

-- capturing --
-- Make a table for the captured rows of each table in the search path's first schema, and a function that captures the
-- rows written after a transaction. Rows that a window deletes are not captured.
DO $capturing$
DECLARE
    live     constant name := current_schema();
    captures text := '';
    model    name;
BEGIN
    CREATE SCHEMA captured;
    FOR model IN SELECT tablename FROM pg_tables WHERE schemaname = live LOOP
        EXECUTE format('CREATE TABLE captured.%1$I AS SELECT 0 AS nth, * FROM %2$I.%1$I LIMIT 0', model, live);
        captures := captures || format($sql$
            INSERT INTO captured.%1$I
            SELECT nth, t.* FROM %2$I.%1$I t WHERE CAST(CAST(t.xmin AS text) AS bigint) > after;
            $sql$, model, live);
    END LOOP;
    EXECUTE format('CREATE FUNCTION captured.capture(nth int, after bigint) RETURNS void LANGUAGE plpgsql AS %L',
        'BEGIN ' || captures || ' END');
END
$capturing$;

-- transaction --
SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint);

-- capture --
SELECT captured.capture(:nth, :after);

-- upserting --
-- Make a function that writes the rows of a window into the schema `progress_ba4e00000000`.
DO $upserting$
DECLARE
    upserts text := '';
    model   record;
    is_used boolean;
BEGIN
    FOR model IN
        SELECT t.tablename AS name,
            string_agg(quote_ident(a.attname), ', ') FILTER (WHERE a.attnum = ANY (k.indkey)) AS keys,
            string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) AS columns,
            string_agg(format('%1$I = excluded.%1$I', a.attname), ', ')
                FILTER (WHERE a.attnum <> ALL (k.indkey)) AS changes
        FROM pg_tables t
        CROSS JOIN LATERAL (
            SELECT i.indrelid, i.indkey
            FROM pg_index i
            WHERE i.indrelid = format('progress_ba4e00000000.%I', t.tablename)::regclass AND i.indisunique
            ORDER BY i.indisprimary DESC
            LIMIT 1
        ) k
        JOIN pg_attribute a ON a.attrelid = k.indrelid AND a.attnum > 0
        WHERE t.schemaname = 'progress_ba4e00000000'
        GROUP BY t.tablename
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM captured.%I)', model.name) INTO is_used;
        CONTINUE WHEN NOT is_used;
        EXECUTE format('CREATE INDEX ON captured.%I (nth)', model.name);
        EXECUTE format('ANALYZE captured.%I', model.name);
        upserts := upserts || format('
            INSERT INTO progress_ba4e00000000.%1$I (%2$s) SELECT %2$s FROM captured.%1$I c WHERE c.nth = upsert.nth
            ON CONFLICT (%3$s) DO ', model.name, model.columns, model.keys)
            || coalesce('UPDATE SET ' || model.changes, 'NOTHING') || ';';
    END LOOP;
    EXECUTE format('CREATE FUNCTION captured.upsert(nth int) RETURNS void LANGUAGE plpgsql AS %L',
        'BEGIN ' || upserts || ' END');
END
$upserting$;

-- upsert --
SELECT captured.upsert(:nth);

-- pid --
SELECT pg_backend_pid();
