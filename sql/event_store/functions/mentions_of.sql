-- Count the events of other learners in a range of positions that mention a learner: a field of their data or metadata,
-- other than the ids of items, sessions and groups, is the learner's id. `reached` is the last position that was read,
-- or null if there was none. An erasure does not change these events.
CREATE OR REPLACE FUNCTION event_store.mentions_of(
    learner text, after bigint, at_most integer, OUT mentions bigint, OUT reached bigint
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
AS $$
SELECT count(*) FILTER (
        WHERE n.stream_id LIKE 'learner-%' AND n.stream_id <> 'learner-' || learner
          -- Most events do not contain the id as text, and strpos is faster than a JSON path.
          AND (strpos(n.event_data::text, quoted) > 0 OR strpos(n.metadata::text, quoted) > 0)
          AND (jsonb_path_exists(n.event_data - '{item_id,session_id,group_id}'::text[], '$.** ? (@ == $id)', variables)
               OR jsonb_path_exists(n.metadata, '$.** ? (@ == $id)', variables))),
    max(n.global_position)
FROM (
    SELECT * FROM event_store.events e WHERE e.global_position > after ORDER BY e.global_position LIMIT at_most
) n, (VALUES (to_json(learner)::text, jsonb_build_object('id', learner))) v (quoted, variables)
$$;

REVOKE EXECUTE ON FUNCTION event_store.mentions_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.mentions_of TO progress_project;
