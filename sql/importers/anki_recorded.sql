-- The parts of a learner's Anki history that are already in the event log.

-- sessions --
-- The learner's sessions, oldest first. A row has the session's id, the times of the session's first and last event,
-- the id, time and data of its SessionStarted, and the time and data of its SessionCompleted, null without one.
SELECT s.session_id, s.first_at, s.last_at, CAST(started.event_id AS text), started.occurred_at, started.event_data,
    completed.occurred_at, completed.event_data
FROM (
    SELECT e.event_data ->> 'session_id' AS session_id, min(e.occurred_at) AS first_at, max(e.occurred_at) AS last_at,
        min(e.stream_version) FILTER (WHERE e.event_type = 'SessionStarted') AS started_as,
        min(e.stream_version) FILTER (WHERE e.event_type = 'SessionCompleted') AS completed_as
    FROM event_store.events e
    WHERE e.stream_id = :stream_id AND e.event_data ->> 'session_id' IS NOT NULL
    GROUP BY 1
) s
JOIN event_store.events started ON started.stream_id = :stream_id AND started.stream_version = s.started_as
LEFT JOIN event_store.events completed
    ON completed.stream_id = :stream_id AND completed.stream_version = s.completed_as
ORDER BY s.first_at, s.last_at;

-- items --
-- The items of the learner's events.
SELECT DISTINCT e.event_data ->> 'item_id'
FROM event_store.events e
WHERE e.stream_id = :stream_id AND e.event_data ->> 'item_id' IS NOT NULL;

-- choices --
-- The latest event that sets an item of the learner aside, or resumes it, for each item.
SELECT DISTINCT ON (e.event_data ->> 'item_id') e.event_data ->> 'item_id', CAST(e.event_id AS text), e.event_type,
    e.occurred_at
FROM event_store.events e
WHERE e.stream_id = :stream_id AND e.event_type IN ('ItemSetAside', 'ItemResumed')
ORDER BY e.event_data ->> 'item_id', e.occurred_at DESC, e.event_id DESC;

-- preference events --
-- The times, ids and values of the learner's preference events, oldest first.
SELECT e.occurred_at, e.event_id, e.event_data ->> 'timezone', CAST(e.event_data ->> 'day_start_hour' AS integer)
FROM event_store.events e
WHERE e.stream_id = :stream_id AND e.event_type IN ('UserCreated', 'UserPreferencesChanged')
ORDER BY e.occurred_at, e.event_id;

-- files --
-- The times of the files that were imported, and the lists of which each said all; "anki-" stands for all of Anki's.
SELECT e.occurred_at, e.metadata -> 'imported_lists'
FROM event_store.events e
WHERE e.stream_id = :stream_id AND e.event_type = 'UserPreferencesChanged'
  AND e.metadata ->> 'imported_lists' IS NOT NULL;

-- answers --
-- The learner's answers and reviews, whoever sent them, and their sessions, '' without one.
SELECT CAST(e.event_id AS text), e.event_type, e.event_data ->> 'item_id', e.occurred_at,
    coalesce(e.event_data ->> 'session_id', '')
FROM event_store.events e
WHERE e.stream_id = :stream_id
  AND e.event_type IN ('CardReviewed', 'CorrectAnswerGiven', 'IncorrectAnswerGiven', 'ReviewProcessed');

-- former --
-- The answers and reviews in these streams that may be those of an earlier version, which imported two events for each
-- row of a review log, and the sessions of these streams that are completed.
SELECT CASE WHEN e.event_type = 'SessionCompleted' THEN e.event_data ->> 'session_id' ELSE CAST(e.event_id AS text) END
FROM event_store.events e
WHERE e.stream_id = ANY(CAST(:stream_ids AS text[]))
  AND e.event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven', 'ReviewProcessed', 'SessionCompleted');

-- recorded --
-- Those of the given event ids that are recorded.
SELECT CAST(wanted.event_id AS text)
FROM unnest(CAST(:event_ids AS uuid[])) AS wanted (event_id)
WHERE EXISTS (SELECT FROM event_store.events e WHERE e.event_id = wanted.event_id);
