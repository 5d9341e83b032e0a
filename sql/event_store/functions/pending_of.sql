-- Return the ids of the pending events that name the learner or a session of the learner. The search for the
-- learner's id skips the fields item_id, session_id and group_id, because an item, a session or a group may happen to
-- have the same id as the learner.
CREATE OR REPLACE FUNCTION event_store.pending_of(learner text) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
SELECT p.event_id
FROM event_store.pending p, (
    SELECT event_store.mention_forms(learner), event_store.mention_pattern(learner, is_free => false)
) m (forms, named)
WHERE event_store.mentions((p.event_data - '{item_id,session_id,group_id}'::text[])::text, m.forms, m.named)
   OR event_store.mentions(p.metadata::text, m.forms, m.named)
   OR p.session_id IN (SELECT s.session_id FROM event_store.sessions s WHERE s.user_id = learner)
$$;

REVOKE EXECUTE ON FUNCTION event_store.pending_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.pending_of TO progress_project;
