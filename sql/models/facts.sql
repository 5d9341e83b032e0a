-- What the events of learners say, typed and with their local day; and the window that a fold works on.

-- table --
CREATE VIEW facts AS
SELECT e.shard, e.global_position, e.stream_id, e.event_id, e.event_type,
    substr(e.stream_id, 9) AS user_id,     -- after 'learner-'
    e.occurred_at, e.created_at,
    date(e.occurred_at + coalesce(rule.utc_offset - zone.day_start, '0')) AS day,
    CASE e.event_type
        WHEN 'CorrectAnswerGiven' THEN 'answer'
        WHEN 'IncorrectAnswerGiven' THEN 'answer'
        WHEN 'ReviewProcessed' THEN 'review'
        WHEN 'SessionCompleted' THEN 'completion'
        ELSE 'other'
    END AS kind,
    e.event_type = 'CorrectAnswerGiven' AS correct,
    e.event_data ->> 'item_id' AS item_id,
    e.event_data ->> 'session_id' AS session_id,
    (e.event_data ->> 'response_time_ms')::bigint AS response_ms,
    (e.event_data ->> 'new_interval')::bigint AS interval_days,
    (e.event_data ->> 'easiness_factor')::double precision AS easiness_factor,
    (e.event_data ->> 'score')::bigint AS score,
    (e.event_data ->> 'duration_seconds')::bigint AS duration_seconds
FROM event_store.events e
LEFT JOIN LATERAL (
    SELECT z.timezone, z.day_start
    FROM zones_in_force z
    WHERE z.user_id = substr(e.stream_id, 9) AND z.starts_at <= e.occurred_at
    ORDER BY z.starts_at DESC
    LIMIT 1
) zone ON true
LEFT JOIN LATERAL (
    SELECT r.utc_offset
    FROM zone_rules r
    WHERE r.zone = zone.timezone AND r.starts_at <= e.occurred_at
    ORDER BY r.starts_at DESC
    LIMIT 1
) rule ON true
WHERE e.event_type IN (
        'SessionStarted', 'CorrectAnswerGiven', 'IncorrectAnswerGiven', 'SessionCompleted',
        'SessionAbandoned', 'ReviewProcessed', 'UserCreated', 'UserPreferencesChanged')
  AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = substr(e.stream_id, 9))
  AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position);

CREATE VIEW preference_facts AS
SELECT e.shard, e.global_position, substr(e.stream_id, 9) AS user_id, e.occurred_at, e.event_id,
    e.event_data ->> 'timezone' AS timezone,
    make_interval(hours => (e.event_data ->> 'day_start_hour')::int) AS day_start
FROM event_store.events e
WHERE e.event_type IN ('UserCreated', 'UserPreferencesChanged')
  AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = substr(e.stream_id, 9))
  AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position);

CREATE VIEW deletion_facts AS
SELECT e.shard, e.global_position, substr(e.stream_id, 9) AS user_id
FROM event_store.events e
WHERE e.event_type = 'UserDeleted'
  AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position);

CREATE VIEW catalogue_facts AS
SELECT e.shard, e.global_position, e.event_data ->> 'item_id' AS item_id,
    e.occurred_at, e.event_id, e.event_type <> 'ItemArchived' AS described,
    e.event_data ->> 'headword' AS headword,
    e.event_data ->> 'cefr_level' AS level,
    e.event_data -> 'domains' AS domains
FROM event_store.events e
WHERE e.event_type IN ('ItemPublished', 'ItemUpdated', 'ItemArchived')
  AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position);

-- window --
-- Of each connection that folds; emptied at each commit.
CREATE TEMPORARY TABLE window_facts (
    kind text, user_id text COLLATE "C", occurred_at timestamptz, event_id uuid, created_at timestamptz, day date,
    correct boolean, item_id text COLLATE "C", session_id text COLLATE "C", response_ms bigint,
    interval_days bigint, easiness_factor double precision, score bigint, duration_seconds bigint
) ON COMMIT DELETE ROWS;
