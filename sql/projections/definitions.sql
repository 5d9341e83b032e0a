-- Definitions: every table of the read models, folded from scratch by one SELECT, the block `definition` of its model.
-- This file has the relations that these blocks share. Both PostgreSQL and DuckDB run the blocks. Only the adapters,
-- one for each engine, read JSON or time zones, or compute states one after another. In all other relations, times are
-- in UTC, day starts are numbers of hours, and the domains of an item are one text with a letter for each domain.

-- create --
CREATE TEMPORARY {kind} {table} AS
{query};

-- known_learners --
-- The learners with a row in user_progress, each with the times of the first and the last event whose local day folds
-- read (`has_day` in events.py). Both times are null if the learner has no such event.
SELECT e.user_id, max(e.created_at) AS last_updated,
    min(e.occurred_at) FILTER (WHERE e.kind IN ({dated_kinds})) AS first_at,
    max(e.occurred_at) FILTER (WHERE e.kind IN ({dated_kinds})) AS last_at
FROM facts e
WHERE e.user_id IS NOT NULL AND e.kind <> 'deletion'
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
-- The events whose local day folds read, each with this day and the hour on the wall clock; and the other events of
-- sessions, which have no day.
SELECT e.user_id, e.kind, e.occurred_at, e.event_id, e.grade, e.grade >= 2 AS correct, e.item_id, e.session_id,
    {dated_columns}, e.item_count, e.due_at, e.global_position,
    CAST(e.occurred_at + coalesce(s.to_day, INTERVAL '0 days') AS date) AS day,
    CAST(date_part('hour', e.occurred_at + coalesce(s.to_clock, INTERVAL '0 days')) AS integer) AS hour
FROM facts e
LEFT JOIN shifts s ON s.user_id = e.user_id AND s.starts_at <= e.occurred_at AND s.ends_at > e.occurred_at
WHERE e.kind IN ({dated_kinds}, 'start', 'abandonment')
  AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)

-- chained_facts --
-- The answers and reviews of each item in order; if their times are equal, answers come before reviews. `gap` is the
-- number of reviews before the row. `is_first` marks an answer whose preceding row is not an answer. If the
-- preceding row is a review, `days_before` and `day_before` are its interval and its day.
SELECT user_id, item_id, kind, occurred_at, event_id, day, grade, interval_days,
    count(*) FILTER (WHERE kind = 'review') OVER (earlier ROWS UNBOUNDED PRECEDING)
        - CASE WHEN kind = 'review' THEN 1 ELSE 0 END AS gap,
    kind = 'answer' AND coalesce(lag(kind) OVER earlier, '') <> 'answer' AS is_first,
    lag(interval_days) OVER earlier AS days_before,
    lag(day) OVER earlier AS day_before
FROM dated_facts
WHERE kind IN ('answer', 'review')
WINDOW earlier AS (PARTITION BY item_id, user_id ORDER BY occurred_at, kind, event_id)

-- chained_reviews --
-- Each review, and whether it is the latest of its item.
SELECT user_id, item_id, occurred_at, event_id, day, interval_days, easiness_factor, due_at,
    lead(interval_days) OVER earlier IS NULL AS is_latest
FROM dated_facts
WHERE kind = 'review'
WINDOW earlier AS (PARTITION BY item_id, user_id ORDER BY occurred_at, event_id)

-- given_answers --
SELECT user_id, item_id, occurred_at, event_id, day, grade
FROM dated_facts
WHERE kind = 'answer'

-- session_facts --
SELECT user_id, session_id, event_id, kind, occurred_at, item_id, grade, response_ms, NULL AS retracted_at
FROM facts
WHERE kind = 'answer'

-- study_spans --
-- Each learner's study days and rest days, as spans with a number of study days. Here, each span is one day.
SELECT user_id, day AS starts, day AS ends, max(study_days) AS study_days
FROM (
    SELECT user_id, day, 1 AS study_days FROM daily_stats d WHERE {read_models/daily_stats is_study_day}
    UNION ALL
    SELECT user_id, day, 0 FROM rest_days
) days
GROUP BY user_id, day

-- answered_weeks --
-- The Mondays of each learner's first and last weeks with an answer. 1990-01-01 was a Monday.
SELECT user_id, first_day - CAST((first_day - DATE '1990-01-01') % 7 AS integer) AS first_monday,
    last_day - CAST((last_day - DATE '1990-01-01') % 7 AS integer) AS last_monday
FROM (
    SELECT user_id, min(day) AS first_day, max(day) AS last_day
    FROM remembered_answers
    GROUP BY user_id
) d

-- returned_answers --
-- If a learner flies west, an item's later answer may have an earlier day. Then the states at the ends of the weeks
-- between the two days leave out the answer before: for each such week, the item's answers so far.
SELECT a.user_id, a.item_id, w.monday, a.occurred_at, a.event_id, a.day, a.grade
FROM (
    SELECT DISTINCT r.user_id, r.item_id, r.monday + CAST(n.days AS integer) AS monday
    FROM (
        SELECT user_id, item_id, newest_day, day - CAST((day - DATE '1990-01-01') % 7 AS integer) AS monday
        FROM remembered_answers
        WHERE day < newest_day
    ) r
    CROSS JOIN LATERAL generate_series(0, r.newest_day - r.monday - 7, 7) AS n (days)
) w
JOIN answered_weeks l ON l.user_id = w.user_id AND l.first_monday <= w.monday
JOIN remembered_answers a ON a.user_id = w.user_id AND a.item_id = w.item_id AND a.day <= w.monday + 6

-- item_places --
-- The level, the domains and the language of each item; the name of the language is the item's kind. An item without a
-- level has the level UNKNOWN; an item without domains has the domain UNKNOWN; an item without a description has no
-- language.
SELECT i.item_id, i.in_catalogue, {read_models/items primary_language} AS language, p.kind, p.name
FROM items i
CROSS JOIN LATERAL (
    SELECT 'level' AS kind, coalesce(i.level, 'UNKNOWN') AS name
    UNION ALL
    SELECT 'domain', d.name
    FROM (VALUES ('R'), ('W'), ('L'), ('S')) AS d (name)
    WHERE i.domains LIKE '%' || d.name || '%'
    UNION ALL
    SELECT 'domain', 'UNKNOWN' WHERE i.domains = ''
    UNION ALL
    SELECT 'language', {read_models/items kind} WHERE i.described_at IS NOT NULL
) AS p

-- retracted_events --
-- The retractions that their declaration accepts, each with the id of the event that it retracts.
SELECT d.user_id, {retracted_id} AS retracted_id
FROM (
{events}
) d
WHERE d.event_type IN ({retraction_types}) AND {accepts_retraction}

-- postgresql retracted_id --
event_store.event_uuid(d.event_data ->> 'retracted_event_id')

-- duckdb retracted_id --
-- See the function event_uuid (sql/migrations/0009_retractions.sql).
CASE WHEN regexp_full_match(d.event_data ->> 'retracted_event_id', '[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}')
    THEN CAST(d.event_data ->> 'retracted_event_id' AS uuid)
    ELSE (
        SELECT CAST(substr(h, 1, 12) || '5' || substr(h, 14, 3)
            || substr('89ab', 1 + CAST('0x' || substr(h, 17, 1) AS integer) % 4, 1) || substr(h, 18, 15) AS uuid)
        FROM (SELECT sha1(from_hex('6ba7b8129dad11d180b400c04fd430c8') || encode(d.event_data ->> 'retracted_event_id'))
            AS h)) END

-- facts --
-- The events that folds may read (see the view in sql/read_models/facts.sql), without those that are retracted. A
-- CardReviewed is two rows, an answer and a review. Each has null in the columns of the other.
SELECT e.event_id, e.user_id, e.occurred_at, e.created_at, coalesce(h.half, e.kind) AS kind, e.item_id, e.described,
    e.session_id, e.global_position, CASE WHEN h.half IS DISTINCT FROM 'review' THEN e.grade END AS grade,
    CASE WHEN h.half IS DISTINCT FROM 'answer' THEN e.due_at END AS due_at, {fact_columns}
FROM (
    SELECT d.global_position, d.event_id, d.user_id, d.occurred_at, d.created_at, d.kind, d.item_id, d.session_id,
        d.event_type <> 'ItemArchived' AS described, {grade} AS grade, {due} AS due_at,
        {fact_values}
    FROM (
        SELECT d.*, {kind_of_fact} AS kind
        FROM (
{events}
        ) d
        {fence}
    ) d
) e
LEFT JOIN (VALUES ('card', 'answer'), ('card', 'review')) AS h (card, half) ON h.card = e.kind
WHERE e.kind IS NOT NULL
  AND NOT (e.kind IN ({retracted_kinds}) AND EXISTS (
      SELECT 1 FROM retracted_events r WHERE r.user_id = e.user_id AND r.retracted_id = e.event_id))

-- list_facts --
-- The events about lists (see the view in sql/read_models/facts.sql).
SELECT {list_columns}
FROM (
{events}
) d
WHERE d.event_type IN ({list_types}, {assignment_types}) AND {kind_of_fact} IS NOT NULL

-- postgresql events --
-- The events that are not poisoned, up to each shard's checkpoint.
SELECT e.global_position, e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id,
    CASE WHEN e.stream_id LIKE 'learner-%' THEN substr(e.stream_id, 9) END AS user_id,
    -- AT TIME ZONE is faster with an interval than with the name of a zone.
    e.occurred_at AT TIME ZONE INTERVAL '0' AS occurred_at, e.created_at AT TIME ZONE INTERVAL '0' AS created_at,
    (e.event_data ->> 'item_id') COLLATE "C" AS item_id,
    (e.event_data ->> 'session_id') COLLATE "C" AS session_id
FROM event_store.events e
JOIN checkpoints c ON c.shard = e.shard AND e.global_position <= c.position
WHERE NOT EXISTS (SELECT FROM poisoned_events p WHERE p.global_position = e.global_position)

-- duckdb events --
-- The rows of the relation `log` whose positions are not in `poisoned_events`. The callers create both relations: see
-- sql/recovery/bucket_folds.sql and sql/analysis/log.sql.
SELECT e.global_position, e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id,
    CASE WHEN e.stream_id LIKE 'learner-%' THEN substr(e.stream_id, 9) END AS user_id,
    make_timestamp(epoch_us(e.occurred_at)) AS occurred_at, make_timestamp(epoch_us(e.created_at)) AS created_at,
    json_extract_string(e.event_data, '$.item_id') AS item_id,
    json_extract_string(e.event_data, '$.session_id') AS session_id
FROM log e
WHERE NOT EXISTS (SELECT 1 FROM poisoned_events p WHERE p.global_position = e.global_position)

-- postgresql zone_offsets --
SELECT zone, starts_at AT TIME ZONE 'UTC' AS starts_at, ends_at AT TIME ZONE 'UTC' AS ends_at,
    CAST(extract(epoch FROM utc_offset) AS bigint) AS seconds
FROM zone_rules

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

-- as_of events --
-- The learner's events up to two times: when they occurred, and when they were recorded. Here, times have a zone; the
-- zone of the session is UTC. A deleted learner has no events at any time. Lists are the present ones, so that their
-- events are not read.
SELECT e.global_position, e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id,
    substr(e.stream_id, 9) AS user_id,
    e.occurred_at, e.created_at,
    (e.event_data ->> 'item_id') COLLATE "C" AS item_id, (e.event_data ->> 'session_id') COLLATE "C" AS session_id
FROM event_store.events e
WHERE e.stream_id = 'learner-' || CAST(:user_id AS text) AND e.event_type IN ({past_types})
  AND e.occurred_at <= coalesce(CAST(:as_of AS timestamptz), 'infinity')
  AND e.created_at <= coalesce(CAST(:known_at AS timestamptz), 'infinity')
  AND NOT EXISTS (SELECT FROM deleted_learners)
  AND e.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))

-- as_of known_learners --
-- An event about a list of the learner's own makes the learner known, too: the latest one up to the times is read.
SELECT user_id, max(last_updated) AS last_updated, min(first_at) AS first_at, max(last_at) AS last_at
FROM (
    SELECT * FROM (
{projections/definitions known_learners}
    ) k
    UNION ALL
    SELECT * FROM (
        SELECT CAST(:user_id AS text), d.created_at, CAST(NULL AS timestamptz), CAST(NULL AS timestamptz)
        FROM event_store.events d
        WHERE d.stream_id = 'learner-' || CAST(:user_id AS text) AND d.event_type IN ({list_types})
          AND d.occurred_at <= coalesce(CAST(:as_of AS timestamptz), 'infinity')
          AND d.created_at <= coalesce(CAST(:known_at AS timestamptz), 'infinity')
          AND {kind_of_fact} IS NOT NULL
          AND NOT EXISTS (SELECT FROM deleted_learners)
          AND d.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))
        ORDER BY d.stream_version DESC
        LIMIT 1
    ) l
) known
GROUP BY user_id

-- as_of zone_offsets --
SELECT zone, starts_at, ends_at, CAST(extract(epoch FROM utc_offset) AS bigint) AS seconds
FROM zone_rules
WHERE zone = ANY (ARRAY(SELECT timezone FROM zones_in_force))

-- as_of item_places --
-- The places of the items that the learner met.
WITH items AS (
    SELECT i.*
    FROM (SELECT DISTINCT item_id FROM item_stats) AS s
    CROSS JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = s.item_id OFFSET 0) AS i
)
{projections/definitions item_places}
