-- Lists of items in the event log, and the items of the catalogue that a list may have.

-- recorded --
-- The events about lists in a stream, in the order in which the latest decides. In a learner's stream, only those that
-- name the learner: the others name one of the learner's sessions, and no fold reads them.
SELECT e.event_type, e.occurred_at, e.event_data
FROM event_store.events e
WHERE e.stream_id = :stream_id
  AND e.event_type IN ('ListPublished', 'ListArchived', 'ItemListed', 'ItemUnlisted')
  AND (e.stream_id LIKE 'list-%' OR coalesce(e.event_data ->> 'user_id', e.metadata ->> 'user_id') IS NOT NULL)
ORDER BY e.occurred_at, e.event_id;

-- items --
-- The items of the catalogue that have these headwords in a language, a primary subtag, or without one, these ids.
SELECT w.name, i.item_id
FROM items i
CROSS JOIN LATERAL (
    SELECT CASE WHEN CAST(:language AS text) IS NULL THEN i.item_id ELSE normalize(i.headword, NFC) END
) w (name)
WHERE i.in_catalogue AND w.name = ANY(CAST(:wanted AS text[]))
  AND coalesce({read_models/items primary_language} = CAST(:language AS text), true)
ORDER BY i.item_id;
