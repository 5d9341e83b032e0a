-- Statements that search a database for a text, and that prepare what an erasure must find.

-- tables --
SELECT format('%I.%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY 1;

-- statistics --
SELECT schemaname || '.' || tablename || '.' || attname FROM pg_stats
WHERE strpos(concat(most_common_vals::text, histogram_bounds::text, most_common_elems::text), :needle) > 0;

-- poison --
-- Set aside the learner's first answer, as a worker does with an event that it cannot fold.
SELECT event_store.set_aside(min(global_position), 'invalid input: "' || CAST(:marker AS text) || '"')
FROM event_store.events WHERE stream_id = 'learner-' || CAST(:learner AS text) AND event_type = 'CorrectAnswerGiven';

-- versions --
-- The streams of erased events: whether they belong to their shard, and whether their versions are 1, 2, 3 …
SELECT stream_id, count(*), bool_and(shard = event_store.shard_of(stream_id)),
    count(*) = max(stream_version) AND min(stream_version) = 1 AND count(DISTINCT stream_version) = count(*)
FROM event_store.events WHERE stream_id LIKE 'erased-%' GROUP BY 1 ORDER BY 1;

-- erased rows --
SELECT count(*), bool_and(event_data = '{}' AND metadata = '{}' AND occurred_at = created_at AND event_type = 'Erased')
FROM event_store.events WHERE stream_id LIKE 'erased-%';

-- search --
SELECT t::text FROM searched_table t WHERE strpos(t::text, :needle) > 0;
