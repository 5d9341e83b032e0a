-- `progress check --whole` runs the definitions over the log, and compares their rows with the live rows.

-- begin --
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL timezone = 'UTC';        -- the definitions have times without a zone
SET LOCAL jit = off;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL enable_nestloop = off;   -- the temporary tables have no statistics, so the planner could choose nested loops
SET LOCAL enable_mergejoin = off;  -- a merge join would sort whole relations
SET LOCAL work_mem = '64MB';

-- end --
ROLLBACK;

-- read only temporary tables --
-- Let the definitions read the temporary tables, not the live tables of the same names. The live schema has the
-- functions that they call.
SELECT set_config('search_path', 'pg_temp, ' || quote_ident(current_schema()), true);

-- read live tables --
-- pg_temp comes last, because the temporary tables would otherwise hide the live tables of the same names.
SELECT set_config('search_path', concat_ws(', ', CAST(:schema AS text), 'event_store', 'pg_temp'), true);

-- columns --
-- The columns of each temporary table, in order.
SELECT c.relname, string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = pg_my_temp_schema() AND c.relkind = 'r'
GROUP BY c.relname;

-- waiting --
-- The learners with events that the batch job has not folded yet, and the catalogue events that it has not folded yet.
CREATE TEMPORARY TABLE waiting_learners AS
SELECT DISTINCT substr(e.stream_id, 9) AS user_id
FROM event_store.events e
JOIN batch_checkpoints b ON b.shard = e.shard AND e.global_position > b.position
WHERE e.stream_id LIKE 'learner-%';

CREATE TEMPORARY TABLE waiting_items AS
SELECT f.global_position
FROM catalogue_facts f
WHERE f.global_position > (SELECT min(b.catalogue_position) FROM batch_checkpoints b);

-- folded --
SELECT * FROM pg_temp.{table} t WHERE {compared}

-- live --
SELECT {columns} FROM {table}

-- compare --
-- The table, the number of its missing rows, the number of its surplus rows, and the first 200 characters of one of
-- these rows. The 200 characters may contain line breaks, so the block returns them as a JSON string.
WITH folded AS MATERIALIZED (
    {folded}
), live AS MATERIALIZED (
    SELECT * FROM ({live}) t
    WHERE {compared}
), missing AS MATERIALIZED (
    SELECT * FROM folded EXCEPT ALL SELECT * FROM live
), extra AS MATERIALIZED (
    SELECT * FROM live EXCEPT ALL SELECT * FROM folded
)
SELECT '{table}', (SELECT count(*) FROM missing), (SELECT count(*) FROM extra),
    CAST(to_json(left(coalesce(
        (SELECT min(CAST(m AS text)) FROM missing m), (SELECT min(CAST(e AS text)) FROM extra e)), 200)) AS text);

-- of item_difficulty --
-- The definitions sum over the shards. The live rows of each shard are compared with the live rows of item_stats, which
-- are compared with their definition.
{read_models/item_difficulty of_shards}

-- of group_items --
{read_models/group_items of_shards}

-- compared --
true

-- compared batch --
-- For a table of learners that the batch job fills, unless it has a block of its own.
NOT EXISTS (SELECT FROM waiting_learners w WHERE w.user_id = t.user_id)

-- compared catalogue_shares --
NOT EXISTS (SELECT FROM waiting_learners w WHERE w.user_id = t.user_id) AND NOT EXISTS (SELECT FROM waiting_items)

-- compared mastery_days --
NOT EXISTS (SELECT FROM waiting_learners w WHERE w.user_id = t.user_id) AND NOT EXISTS (SELECT FROM waiting_items)

-- compared milestones --
t.kind <> 'LEVEL_REACHED'
OR NOT EXISTS (SELECT FROM waiting_learners w WHERE w.user_id = t.user_id) AND NOT EXISTS (SELECT FROM waiting_items)

-- compared catalogue_counts --
NOT EXISTS (SELECT FROM waiting_items)

-- compared level_totals --
NOT EXISTS (SELECT FROM waiting_items)
