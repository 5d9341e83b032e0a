-- Return the tables in which an erasure searches for the learner's id, each with its number of disk blocks.
CREATE OR REPLACE FUNCTION event_store.searched_tables() RETURNS TABLE (table_id oid, place text, blocks bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT c.oid, c.oid::regclass::text, pg_relation_size(c.oid) / current_setting('block_size')::bigint
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\_%' AND has_table_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname
$$;

REVOKE EXECUTE ON FUNCTION event_store.searched_tables FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.searched_tables TO progress_project;
