-- The outcomes of published events, which `progress publish --wait` polls.

-- newest dead letter --
SELECT coalesce(max(letter_id), 0) FROM event_store.dead_letters;

-- conflicts --
-- The ids of the given events that are recorded with other content or for another learner. The conditions are those of
-- record_known_id().
SELECT DISTINCT CAST(e.event_id AS text)
FROM jsonb_populate_recordset(NULL::event_store.incoming_event, CAST(:events AS jsonb)) AS e
LEFT JOIN LATERAL (SELECT * FROM event_store.events s WHERE s.event_id = e.event_id OFFSET 0) stored ON true
LEFT JOIN LATERAL (SELECT * FROM event_store.pending p WHERE p.event_id = e.event_id OFFSET 0) waiting ON true
LEFT JOIN LATERAL (
    SELECT s.user_id FROM event_store.sessions s WHERE s.session_id = e.session_id OFFSET 0
) owner ON true
WHERE (stored.event_id IS NOT NULL OR waiting.event_id IS NOT NULL)
  AND (event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
           stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
       AND event_store.same_learner(stored.stream_id,
           coalesce('learner-' || coalesce(e.learner, owner.user_id), e.stream_id))) IS NOT TRUE
  AND event_store.same_content(e.event_type, e.data, e.occurred_at, e.metadata,
          waiting.event_type, waiting.event_data, waiting.occurred_at, waiting.metadata) IS NOT TRUE;

-- outcomes --
-- The outcome of each given event that has arrived. `letter_id` is the newest dead letter before the publication. An
-- event whose id is in `conflicts` arrives as a dead letter, because its id is recorded with other content.
SELECT CAST(wanted.event_id AS text),
    CASE WHEN wanted.is_conflict THEN 'dead letter'
         WHEN recorded.event_id IS NOT NULL THEN 'recorded'
         WHEN pending.event_id IS NOT NULL THEN 'pending'
         ELSE 'dead letter' END
FROM (
    SELECT u.event_id, CAST(u.event_id AS text) = ANY (CAST(:conflicts AS text[])) AS is_conflict
    FROM unnest(CAST(:event_ids AS uuid[])) AS u (event_id)
) wanted
LEFT JOIN event_store.events recorded ON recorded.event_id = wanted.event_id
LEFT JOIN event_store.pending pending ON pending.event_id = wanted.event_id
WHERE NOT wanted.is_conflict AND (recorded.event_id IS NOT NULL OR pending.event_id IS NOT NULL)
   OR CAST(wanted.event_id AS text) IN (
       SELECT l.event_id FROM event_store.dead_letters l WHERE l.letter_id > :letter_id);

-- waiting --
-- The sessions for which the given pending events wait, and the number of these events, most first.
SELECT p.session_id, count(*)
FROM event_store.pending p
WHERE p.event_id = ANY (CAST(:event_ids AS uuid[]))
GROUP BY p.session_id
ORDER BY count(*) DESC, p.session_id;

-- dead letters --
-- The number of dead letters about the given events since the publication; these include conflicts with recorded
-- events.
SELECT count(*)
FROM event_store.dead_letters l
WHERE l.letter_id > :letter_id AND l.event_id = ANY (CAST(:event_ids AS text[]));
