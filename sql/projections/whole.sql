-- Whole folds: every table of the read models, each folded from scratch by one SELECT (the block `whole` of its model).
-- This file has the relations that these blocks share. Both PostgreSQL and DuckDB run the blocks. Only the adapters at
-- the end, one for each engine, read JSON or time zones. In all other relations, times are in UTC, day starts are
-- numbers of hours, and the domains of an item are one text with a letter for each domain.

-- create --
CREATE TEMPORARY {kind} {table} AS
{query};

-- known_learners --
-- The learners with a row in user_progress, each with the times of the first and the last event that needs a local day:
-- an answer, a review or a completion. Both times are null if the learner has no such event.
SELECT e.user_id, max(e.created_at) AS last_updated,
    min(e.occurred_at) FILTER (WHERE e.kind IN ('answer', 'review', 'completion')) AS first_at,
    max(e.occurred_at) FILTER (WHERE e.kind IN ('answer', 'review', 'completion')) AS last_at
FROM typed_events e
WHERE e.kind NOT IN ('deletion', 'catalogue')
  AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
GROUP BY e.user_id

-- shifts --
-- The periods from a learner's first_at to last_at in which two shifts are constant: the shift from UTC to the wall
-- clock, and the shift from UTC to the local day.
SELECT k.user_id, greatest(z.starts_at, o.starts_at) AS starts_at, least(z.ends_at, o.ends_at) AS ends_at,
    o.seconds * INTERVAL '1 second' AS to_clock,
    (o.seconds - 3600 * z.day_start_hour) * INTERVAL '1 second' AS to_day
FROM known_learners k
JOIN zones_in_force z ON z.user_id = k.user_id AND z.starts_at <= k.last_at AND z.ends_at > k.first_at
JOIN zone_offsets o ON o.zone = z.timezone AND o.starts_at < z.ends_at AND o.ends_at > z.starts_at
    AND o.starts_at <= k.last_at AND o.ends_at > k.first_at

-- dated_facts --
-- The learners' answers, reviews and completions, each with its local day and the hour on the wall clock.
SELECT e.user_id, e.kind, e.occurred_at, e.event_id, e.correct, e.item_id, e.session_id, e.response_ms,
    e.interval_days, e.easiness_factor, e.score, e.duration_seconds,
    CAST(e.occurred_at + coalesce(s.to_day, INTERVAL '0 days') AS date) AS day,
    CAST(date_part('hour', e.occurred_at + coalesce(s.to_clock, INTERVAL '0 days')) AS integer) AS hour
FROM typed_events e
LEFT JOIN shifts s ON s.user_id = e.user_id AND s.starts_at <= e.occurred_at AND s.ends_at > e.occurred_at
WHERE e.kind IN ('answer', 'review', 'completion')
  AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)

-- chained_facts --
-- The answers and reviews of each item in order; if their times are equal, answers come before reviews. `gap` is the
-- number of reviews before the row. `is_first` marks an answer whose preceding row is not an answer. If the
-- preceding row is a review, `days_before` and `day_before` are its interval and its day.
SELECT user_id, item_id, kind, occurred_at, event_id, day, correct, interval_days,
    count(*) FILTER (WHERE kind = 'review') OVER (earlier ROWS UNBOUNDED PRECEDING)
        - CASE WHEN kind = 'review' THEN 1 ELSE 0 END AS gap,
    kind = 'answer' AND coalesce(lag(kind) OVER earlier, '') <> 'answer' AS is_first,
    lag(interval_days) OVER earlier AS days_before,
    lag(day) OVER earlier AS day_before
FROM dated_facts
WHERE kind IN ('answer', 'review')
WINDOW earlier AS (PARTITION BY user_id, item_id ORDER BY occurred_at, kind, event_id)

-- chained_reviews --
-- Each review, with the interval of the previous review of the same item.
SELECT user_id, item_id, occurred_at, event_id, day, interval_days, easiness_factor,
    lag(interval_days) OVER earlier AS days_before,
    lead(interval_days) OVER earlier IS NULL AS is_latest
FROM dated_facts
WHERE kind = 'review'
WINDOW earlier AS (PARTITION BY user_id, item_id ORDER BY occurred_at, event_id)

-- item_places --
-- The level and the domains of each item. An item without a level has the level UNKNOWN; an item without domains has
-- the domain UNKNOWN.
SELECT item_id, in_catalogue, 'level' AS kind, coalesce(level, 'UNKNOWN') AS name
FROM items
UNION ALL
SELECT i.item_id, i.in_catalogue, 'domain', d.name
FROM items i
JOIN (VALUES ('R'), ('W'), ('L'), ('S')) AS d (name) ON i.domains LIKE '%' || d.name || '%'
UNION ALL
SELECT item_id, in_catalogue, 'domain', 'UNKNOWN'
FROM items
WHERE domains = ''

-- columns --
-- The columns of typed_events. Numbers are cast only for kinds that declare them (see the view in facts.sql).
e.event_id, e.user_id, e.occurred_at, e.created_at, t.kind, e.item_id,
e.event_type = 'CorrectAnswerGiven' AS correct,
e.event_type <> 'ItemArchived' AS described,
CASE WHEN t.kind = 'answer' THEN CAST((e.event_data ->> 'response_time_ms') AS bigint) END AS response_ms,
CASE WHEN t.kind = 'review' THEN CAST((e.event_data ->> 'new_interval') AS bigint) END AS interval_days,
CASE WHEN t.kind = 'review' THEN CAST((e.event_data ->> 'easiness_factor') AS double precision) END AS easiness_factor,
CASE WHEN t.kind = 'completion' THEN e.session_id END AS session_id,
CASE WHEN t.kind = 'completion' THEN CAST((e.event_data ->> 'score') AS bigint) END AS score,
CASE WHEN t.kind = 'completion' THEN CAST((e.event_data ->> 'duration_seconds') AS bigint) END AS duration_seconds,
CASE WHEN t.kind = 'preference' THEN (e.event_data ->> 'timezone') END AS timezone,
CASE WHEN t.kind = 'preference' THEN CAST((e.event_data ->> 'day_start_hour') AS bigint) END AS day_start_hour,
CASE WHEN t.kind = 'catalogue' THEN (e.event_data ->> 'headword') END AS headword,
CASE WHEN t.kind = 'catalogue' THEN (e.event_data ->> 'cefr_level') END AS level,
CASE WHEN t.kind = 'catalogue' THEN CAST((e.event_data -> 'domains') AS text) END AS domains,
CASE WHEN t.kind = 'catalogue' AND {projections/whole is_language} THEN (e.event_data ->> 'language') END AS language,
CASE WHEN t.kind IN ('join', 'leave') THEN (e.event_data ->> 'group_id') END AS group_id,
CASE WHEN t.kind = 'goal' THEN CAST((e.event_data ->> 'answers_per_day') AS bigint) END AS answers_per_day,
CASE WHEN t.kind = 'rest_day' THEN CAST((e.event_data ->> 'date') AS date) END AS rest_day

-- names_learner --
-- True if the event is in a learner's stream and names the learner. The declarations require the learner's id. An event
-- that was recorded before its type was declared may lack the id. Such an event is in the learner's stream only because
-- it names a session of the learner.
(e.stream_id LIKE 'learner-%'
    AND coalesce((e.event_data ->> 'user_id'), (e.metadata ->> 'user_id')) IS NOT NULL)

-- is_group --
-- True if the declaration in progress/event_store/events.py accepts the event. This block and the next three match the
-- JSON text of a field with a pattern. Only strings are quoted in JSON text, so a value of the wrong type is rejected.
({projections/whole names_learner} AND CAST((e.event_data -> 'group_id') AS text) LIKE '"%'
    AND length((e.event_data ->> 'group_id')) BETWEEN 1 AND 200)

-- is_goal --
({projections/whole names_learner}
    AND CAST((e.event_data -> 'answers_per_day') AS text) ~ '^([0-9]|[1-9][0-9]|[1-9][0-9][0-9]|1000)$')

-- is_rest_day --
-- The pattern matches the real days from 2000 to 2099.
({projections/whole names_learner} AND CAST((e.event_data -> 'date') AS text) ~ ('^"20('
    || '[0-9]{2}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])'
    || '|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))'
    || '|([02468][048]|[13579][26])-02-29)"$'))

-- is_language --
(CAST((e.event_data -> 'language') AS text) ~ '^"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*"$'
    AND length((e.event_data ->> 'language')) BETWEEN 2 AND 35)

-- is_valid --
-- True if folds may read the event. Ingest has checked each event by the declaration of its type, but the events of the
-- newest types may have been recorded before these types were declared.
CASE t.kind
    WHEN 'join'     THEN {projections/whole is_group}
    WHEN 'leave'    THEN {projections/whole is_group}
    WHEN 'goal'     THEN {projections/whole is_goal}
    WHEN 'rest_day' THEN {projections/whole is_rest_day}
    ELSE true
END

-- kinds --
-- The kinds of the event types that folds read, as a table to join to the events.
(VALUES
    ('CorrectAnswerGiven', 'answer'), ('IncorrectAnswerGiven', 'answer'), ('ReviewProcessed', 'review'),
    ('SessionCompleted', 'completion'), ('SessionStarted', 'other'), ('SessionAbandoned', 'other'),
    ('UserCreated', 'preference'), ('UserPreferencesChanged', 'preference'), ('UserDeleted', 'deletion'),
    ('ItemPublished', 'catalogue'), ('ItemUpdated', 'catalogue'), ('ItemArchived', 'catalogue'),
    ('LearnerJoinedGroup', 'join'), ('LearnerLeftGroup', 'leave'), ('GoalSet', 'goal'), ('RestDayTaken', 'rest_day')
) AS t (event_type, kind) ON t.event_type = e.event_type AND {projections/whole is_valid}

-- postgresql typed_events --
-- The events that are not set aside, up to each shard's checkpoint.
SELECT {projections/whole columns}
FROM (
    SELECT e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id,
        substr(e.stream_id, 9) AS user_id,     -- after 'learner-'
        -- AT TIME ZONE is faster with an interval than with the name of a zone.
        e.occurred_at AT TIME ZONE INTERVAL '0' AS occurred_at, e.created_at AT TIME ZONE INTERVAL '0' AS created_at,
        (e.event_data ->> 'item_id') COLLATE "C" AS item_id,
        (e.event_data ->> 'session_id') COLLATE "C" AS session_id
    FROM event_store.events e
    JOIN checkpoints c ON c.shard = e.shard AND e.global_position <= c.position
    WHERE NOT EXISTS (SELECT FROM event_store.poisoned p WHERE p.global_position = e.global_position)
) e
JOIN {projections/whole kinds}

-- postgresql zone_offsets --
SELECT zone, starts_at AT TIME ZONE 'UTC' AS starts_at, ends_at AT TIME ZONE 'UTC' AS ends_at,
    CAST(extract(epoch FROM utc_offset) AS bigint) AS seconds
FROM zone_rules

-- duckdb typed_events --
-- The rows of the relation `log` whose positions are not in `set_aside`. The callers create both relations: see
-- sql/recovery/bucket_folds.sql and sql/analysis/log.sql.
SELECT {projections/whole columns}
FROM (
    SELECT e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id, substr(e.stream_id, 9) AS user_id,
        make_timestamp(epoch_us(e.occurred_at)) AS occurred_at, make_timestamp(epoch_us(e.created_at)) AS created_at,
        json_extract_string(e.event_data, '$.item_id') AS item_id,
        json_extract_string(e.event_data, '$.session_id') AS session_id
    FROM log e
    WHERE NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.global_position = e.global_position)
) e
JOIN {projections/whole kinds}

-- duckdb zone_offsets --
-- The parameter `rules` is the JSON text that encode_rules (progress/event_store/time_zones.py) returns.
SELECT r.zone, coalesce(make_timestamp(r.starts_at * 1000000), TIMESTAMP '-infinity') AS starts_at,
    coalesce(
        make_timestamp(lead(r.starts_at) OVER (PARTITION BY r.zone ORDER BY r.starts_at NULLS FIRST) * 1000000),
        TIMESTAMP 'infinity') AS ends_at,
    r.utc_offset AS seconds
FROM (
    SELECT unnest(
        from_json(CAST($rules AS json), '[{"zone": "VARCHAR", "starts_at": "BIGINT", "utc_offset": "BIGINT"}]'),
        recursive := true)
) r
