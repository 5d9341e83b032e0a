-- The events of the log with typed columns, and the window of events that a fold processes.

-- table --
-- Every event of the log. No fold reads an event whose kind is null. The kind is null if the event is poisoned, if its
-- type is undeclared, or if its declaration rejects it. Ingest also checks the declaration, but the event may have been
-- recorded before its type was declared (see the block `is_valid` of sql/projections/whole.sql). The columns from the
-- data of a poisoned event are also null.
CREATE VIEW facts AS
SELECT e.shard, e.global_position, e.stream_id, e.stream_version, e.event_id,
    substr(e.stream_id, 9) AS user_id,     -- after 'learner-'
    e.occurred_at, e.created_at,
    CASE WHEN d.event_data IS NOT NULL THEN CASE e.event_type
        WHEN 'CorrectAnswerGiven' THEN 'answer'
        WHEN 'IncorrectAnswerGiven' THEN 'answer'
        WHEN 'ReviewProcessed' THEN 'review'
        WHEN 'SessionCompleted' THEN 'completion'
        WHEN 'SessionStarted' THEN 'other'
        WHEN 'SessionAbandoned' THEN 'other'
        WHEN 'UserCreated' THEN 'preference'
        WHEN 'UserPreferencesChanged' THEN 'preference'
        WHEN 'UserDeleted' THEN 'deletion'
        WHEN 'ItemPublished' THEN 'catalogue'
        WHEN 'ItemUpdated' THEN 'catalogue'
        WHEN 'ItemArchived' THEN 'catalogue'
        WHEN 'LearnerJoinedGroup' THEN CASE WHEN {projections/whole is_group} THEN 'join' END
        WHEN 'LearnerLeftGroup' THEN CASE WHEN {projections/whole is_group} THEN 'leave' END
        WHEN 'GoalSet' THEN CASE WHEN {projections/whole is_goal} THEN 'goal' END
        WHEN 'RestDayTaken' THEN CASE WHEN {projections/whole is_rest_day} THEN 'rest_day' END
    END END AS kind,
    e.event_type = 'CorrectAnswerGiven' AS correct,
    d.event_data ->> 'item_id' AS item_id,
    d.event_data ->> 'session_id' AS session_id,
    -- Cast a field only in events whose type declares the field. Other events may have an extra field of the same name,
    -- with any JSON value.
    CASE WHEN e.event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven')
        THEN (d.event_data ->> 'response_time_ms')::bigint END AS response_ms,
    CASE WHEN e.event_type = 'ReviewProcessed'
        THEN (d.event_data ->> 'new_interval')::bigint END AS interval_days,
    CASE WHEN e.event_type = 'ReviewProcessed'
        THEN (d.event_data ->> 'easiness_factor')::double precision END AS easiness_factor,
    CASE WHEN e.event_type = 'SessionCompleted'
        THEN (d.event_data ->> 'score')::bigint END AS score,
    CASE WHEN e.event_type = 'SessionCompleted'
        THEN (d.event_data ->> 'duration_seconds')::bigint END AS duration_seconds,
    CASE WHEN e.event_type IN ('LearnerJoinedGroup', 'LearnerLeftGroup')
        THEN d.event_data ->> 'group_id' END AS group_id,
    CASE WHEN e.event_type = 'GoalSet' AND {projections/whole is_goal}
        THEN (d.event_data ->> 'answers_per_day')::bigint END AS answers_per_day,
    CASE WHEN e.event_type = 'RestDayTaken' AND {projections/whole is_rest_day}
        THEN (d.event_data ->> 'date')::date END AS rest_day
FROM event_store.events e
CROSS JOIN LATERAL (
    SELECT CASE WHEN e.global_position <> ALL (ARRAY(SELECT p.global_position FROM event_store.poisoned p))
        THEN e.event_data END
) d (event_data);

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
    e.event_data -> 'domains' AS domains,
    CASE WHEN {projections/whole is_language} THEN e.event_data ->> 'language' END AS language
FROM event_store.events e
WHERE e.event_type IN ('ItemPublished', 'ItemUpdated', 'ItemArchived')
  AND NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position);

-- The template of the window's tables. Plain storage avoids TOAST tables: at each commit, PostgreSQL empties the
-- temporary tables, which takes ten times as long if they have TOAST tables.
CREATE TABLE window_shape (
    global_position bigint, kind text, user_id text COLLATE "C", occurred_at timestamptz, event_id uuid,
    created_at timestamptz, correct boolean, item_id text COLLATE "C", session_id text COLLATE "C", response_ms bigint,
    interval_days bigint, easiness_factor double precision, score bigint, duration_seconds bigint,
    group_id text COLLATE "C", answers_per_day bigint, rest_day date
);
ALTER TABLE window_shape
    ALTER kind SET STORAGE PLAIN, ALTER user_id SET STORAGE PLAIN,
    ALTER item_id SET STORAGE PLAIN, ALTER session_id SET STORAGE PLAIN, ALTER group_id SET STORAGE PLAIN;

-- columns --
global_position, kind, user_id, occurred_at, event_id, created_at, correct, item_id, session_id,
response_ms, interval_days, easiness_factor, score, duration_seconds, group_id, answers_per_day, rest_day

-- local_time --
-- The local day of a time t is date(t + shift). The shift is the zone's utc_offset at t, minus day_start. Binary search
-- (width_bucket) finds the shift and the utc_offset of an event in the learner's arrays, which may have thousands of
-- entries.
date(occurred_at + coalesce(shifts[width_bucket(occurred_at, starts)], '0')) AS day,
CASE WHEN kind = 'answer' THEN
    date_part('hour', occurred_at + coalesce(offsets[width_bucket(occurred_at, starts)], '0'))
END AS hour

-- window --
-- Each connection that folds has these tables; they are emptied at each commit.
CREATE TEMPORARY TABLE window_events (LIKE window_shape INCLUDING STORAGE) ON COMMIT DELETE ROWS;

-- The learners' events, as the folds read them. Each event has its local day, and each answer also has its hour on the
-- wall clock.
CREATE TEMPORARY TABLE window_facts (LIKE window_shape INCLUDING STORAGE, day date, hour int) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_events;
DELETE FROM window_facts;

-- fold --
-- Zones and offsets are read once per learner, for the span of the learner's events.
WITH spans AS MATERIALIZED (
    SELECT user_id, min(occurred_at) AS first_at, max(occurred_at) AS last_at
    FROM window_events
    WHERE kind IN ('answer', 'review', 'completion')
    GROUP BY user_id
), shifts AS MATERIALIZED (
    SELECT s.user_id, z.starts, z.shifts, z.offsets
    FROM spans s
    CROSS JOIN LATERAL zone_shifts(s.user_id, s.first_at, s.last_at) z
)
INSERT INTO window_facts
SELECT e.*,
    {read_models/facts local_time}
FROM window_events e
LEFT JOIN shifts s ON s.user_id = e.user_id
WHERE e.kind NOT IN ('deletion', 'catalogue')
  AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = e.user_id);
