-- What the events of learners say, typed and with their local day; and the window that a fold works on.

-- table --
CREATE VIEW facts AS
SELECT e.shard, e.global_position, e.stream_id, e.event_id,
    substr(e.stream_id, 9) AS user_id,     -- after 'learner-'
    e.occurred_at, e.created_at,
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
CREATE TEMPORARY TABLE window_events (
    kind text, user_id text COLLATE "C", occurred_at timestamptz, event_id uuid, created_at timestamptz,
    correct boolean, item_id text COLLATE "C", session_id text COLLATE "C", response_ms bigint,
    interval_days bigint, easiness_factor double precision, score bigint, duration_seconds bigint
) ON COMMIT DELETE ROWS;

-- The same, each with the learner's local day: what the folds read.
CREATE TEMPORARY TABLE window_facts (LIKE window_events, day date) ON COMMIT DELETE ROWS;

-- clear --
DELETE FROM window_events;
DELETE FROM window_facts;

-- fold --
-- local day of t = date(t + the zone's offset at t - day_start). Zones and offsets are looked up once for a
-- learner, for the span of the learner's events, and not once for an event.
WITH spans AS MATERIALIZED (
    SELECT user_id, min(occurred_at) AS first_at, max(occurred_at) AS last_at
    FROM window_events
    GROUP BY user_id
), shifts AS MATERIALIZED (
    SELECT s.user_id, greatest(z.starts_at, r.starts_at) AS starts_at, least(z.ends_at, r.ends_at) AS ends_at,
        r.utc_offset - z.day_start AS shift
    FROM spans s
    CROSS JOIN LATERAL (
        SELECT z.*
        FROM zones_in_force z
        WHERE z.user_id = s.user_id AND z.starts_at <= s.last_at AND z.starts_at >= (
            SELECT f.starts_at
            FROM zones_in_force f
            WHERE f.user_id = s.user_id AND f.starts_at <= s.first_at
            ORDER BY f.starts_at DESC
            LIMIT 1)
        OFFSET 0
    ) z
    CROSS JOIN LATERAL (
        SELECT r.*
        FROM zone_rules r
        WHERE r.zone = z.timezone AND r.starts_at <= least(s.last_at, z.ends_at) AND r.starts_at >= (
            SELECT f.starts_at
            FROM zone_rules f
            WHERE f.zone = z.timezone AND f.starts_at <= greatest(s.first_at, z.starts_at)
            ORDER BY f.starts_at DESC
            LIMIT 1)
        OFFSET 0
    ) r
)
INSERT INTO window_facts
SELECT e.*, date(e.occurred_at + coalesce(s.shift, '0'))
FROM window_events e
LEFT JOIN shifts s ON s.user_id = e.user_id AND e.occurred_at >= s.starts_at AND e.occurred_at < s.ends_at;
