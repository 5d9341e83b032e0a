-- What became of published events, as `progress publish --wait` polls it.

-- newest dead letter --
SELECT coalesce(max(letter_id), 0) FROM event_store.dead_letters;

-- outcomes --
-- The outcome of each given event that has arrived. `letter_id` is the newest dead letter before the publication.
SELECT CAST(wanted.event_id AS text),
    CASE WHEN recorded.event_id IS NOT NULL THEN 'recorded'
         WHEN pending.event_id IS NOT NULL THEN 'pending'
         ELSE 'dead letter' END
FROM unnest(CAST(:event_ids AS uuid[])) AS wanted (event_id)
LEFT JOIN event_store.events recorded ON recorded.event_id = wanted.event_id
LEFT JOIN event_store.pending pending ON pending.event_id = wanted.event_id
WHERE recorded.event_id IS NOT NULL OR pending.event_id IS NOT NULL
   OR CAST(wanted.event_id AS text) IN (
       SELECT l.event_id FROM event_store.dead_letters l WHERE l.letter_id > :letter_id);

-- dead letters --
-- The number of dead letters about the given events since the publication; these include conflicts with recorded
-- events.
SELECT count(*)
FROM event_store.dead_letters l
WHERE l.letter_id > :letter_id AND l.event_id = ANY (CAST(:event_ids AS text[]));
