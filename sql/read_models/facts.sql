-- The events of the log with typed columns, and the window of events that a fold processes.
--
-- The parts `kind_of_fact`, `window_values` and the other names in braces are made from the declarations of the event
-- types (progress/projections/facts.py) and the last blocks of this file. A column is null for types that do not
-- declare its field, because such events may have a field of the same name with any JSON value. A type that may have
-- been recorded before it was declared is checked again: the event must name its learner (it may be in the learner's
-- stream only because it names one of the learner's sessions), and each field must have a value that the declaration
-- accepts. Only strings are quoted in JSON text, so a value of the wrong type is rejected. Both PostgreSQL and DuckDB
-- run these blocks, in which `d` is the event.
-- Also held by: query/test_why.py.

-- table --
-- The events that these folds leave out, because they made one of them fail. Other schemas have marks of their own.
CREATE VIEW poisoned_events AS
SELECT m.global_position
FROM event_store.poison_marks m
WHERE m.fingerprint = schema_fingerprint();
SELECT event_store.adopt_marks(schema_fingerprint());

-- Every event of the log. No fold reads an event whose kind is null. The kind is null if the event is poisoned, if its
-- type is undeclared, or if its declaration rejects it. Ingest also checks the declaration, but the event may have been
-- recorded before its type was declared. The columns from the data of a poisoned event are also null.
CREATE VIEW facts AS
SELECT e.shard, e.global_position, e.stream_id, e.stream_version, e.event_id,
    CASE WHEN e.stream_id LIKE 'learner-%' THEN substr(e.stream_id, 9) END AS user_id,
    e.occurred_at, e.created_at,
    d.kind, {grade} AS grade,
    d.event_data ->> 'item_id' AS item_id,
    d.event_data ->> 'session_id' AS session_id,
    {window_values},
    {due} AS due_at
FROM event_store.events e
CROSS JOIN LATERAL (
    SELECT d.*, CASE WHEN d.event_data IS NOT NULL THEN {kind_of_fact} END AS kind
    FROM (
        SELECT e.event_type, e.stream_id, e.metadata, e.occurred_at,
            CASE WHEN e.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))
                THEN e.event_data END AS event_data
        OFFSET 0
    ) d
    OFFSET 0
) d;

-- The retractions that their declaration accepts, each with the id of the event that it retracts.
CREATE VIEW retractions AS
SELECT d.stream_id, d.global_position,
    event_store.event_uuid(d.event_data ->> 'retracted_event_id') AS retracted_id
FROM event_store.events d
WHERE d.event_type IN ({retraction_types}) AND {accepts_retraction}
  AND NOT EXISTS (SELECT FROM poisoned_events p WHERE p.global_position = d.global_position);

-- Whether retractions take events of this type out of every number.
CREATE FUNCTION is_retractable(event_type text) RETURNS boolean LANGUAGE sql IMMUTABLE
RETURN event_type IN ({retractable_types});

CREATE VIEW preference_facts AS
SELECT d.shard, d.global_position, substr(d.stream_id, 9) AS user_id, d.occurred_at, d.event_id,
    make_interval(hours => (d.event_data ->> 'day_start_hour')::int) AS day_start,
    {preference_values}
FROM event_store.events d
WHERE d.event_type IN ({preference_types})
  AND NOT EXISTS (SELECT FROM deleted_learners l WHERE l.user_id = substr(d.stream_id, 9))
  AND NOT EXISTS (SELECT FROM poisoned_events p WHERE p.global_position = d.global_position);

CREATE VIEW deletion_facts AS
SELECT e.shard, e.global_position, substr(e.stream_id, 9) AS user_id
FROM event_store.events e
WHERE e.event_type IN ({deletion_types})
  AND NOT EXISTS (SELECT FROM poisoned_events p WHERE p.global_position = e.global_position);

CREATE VIEW catalogue_facts AS
SELECT d.shard, d.global_position, d.event_data ->> 'item_id' AS item_id,
    d.occurred_at, d.event_id, d.event_type <> 'ItemArchived' AS described,
    d.event_data -> 'domains' AS domains,
    {catalogue_values}
FROM event_store.events d
WHERE d.event_type IN ({catalogue_types})
  AND NOT EXISTS (SELECT FROM poisoned_events p WHERE p.global_position = d.global_position);

-- The events about lists: the catalogue's and groups', which have no learner, and learners' own.
CREATE VIEW list_facts AS
SELECT d.global_position, {list_columns}
FROM event_store.events d;

-- The template of the window's tables. Plain storage avoids TOAST tables: at each commit, PostgreSQL empties the
-- temporary tables, which takes ten times as long if they have TOAST tables.
CREATE TABLE window_shape (
    global_position bigint, kind text, user_id text COLLATE "C", occurred_at timestamptz, event_id uuid,
    created_at timestamptz,
    grade int,                             -- of an answer: 1 again, 2 hard, 3 good, 4 easy; from 2 on, it is correct
    item_id text COLLATE "C", session_id text COLLATE "C", {window_types},
    due_at timestamptz,                    -- of a CardReviewed; null: follows from the interval
    change int NOT NULL DEFAULT 1          -- -1: an answer that is folded, and that the window retracts
);
ALTER TABLE window_shape {plain_texts},
    ALTER kind SET STORAGE PLAIN, ALTER user_id SET STORAGE PLAIN,
    ALTER item_id SET STORAGE PLAIN, ALTER session_id SET STORAGE PLAIN;

-- is_named --
-- Whether a retraction names the event e. It takes e out of every number if retractions do so with events of this type.
EXISTS (SELECT FROM retractions r WHERE r.stream_id = e.stream_id AND r.retracted_id = e.event_id OFFSET 0)

-- is_vain --
-- Whether the retraction e takes no effect: nothing is there to retract, or an earlier retraction names the same event.
EXISTS (
    SELECT FROM retractions r
    WHERE r.global_position = e.global_position AND (
        NOT EXISTS (
            SELECT FROM event_store.events t
            WHERE t.event_id = r.retracted_id AND t.stream_id = e.stream_id AND is_retractable(t.event_type) OFFSET 0)
        OR EXISTS (
            SELECT FROM retractions o JOIN event_store.events t ON t.global_position = o.global_position
            WHERE o.stream_id = e.stream_id AND o.retracted_id = r.retracted_id
              AND (t.occurred_at, t.event_id) < (e.occurred_at, e.event_id) OFFSET 0))
    OFFSET 0)

-- columns --
global_position, kind, user_id, occurred_at, event_id, created_at, grade, item_id, session_id, {window_columns}, due_at

-- local_time --
-- The local day of a time t is date(t + shift). The shift is the zone's utc_offset at t, minus day_start. Binary search
-- (width_bucket) finds the shift and the utc_offset of an event in the learner's arrays, which may have thousands of
-- entries.
date(occurred_at + coalesce(shifts[width_bucket(occurred_at, starts)], '0')) AS day,
CASE WHEN grade IS NOT NULL THEN
    date_part('hour', occurred_at + coalesce(offsets[width_bucket(occurred_at, starts)], '0'))
END AS hour

-- window --
-- Each connection that folds has these tables; they are emptied at each commit.
CREATE TEMPORARY TABLE window_events (LIKE window_shape INCLUDING STORAGE INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;

-- The learners' events, as the folds read them. A row with a grade is an answer, and a row with interval_days a review;
-- a CardReviewed is both. Each row has its local day, and each answer also has its hour on the wall clock.
CREATE TEMPORARY TABLE window_facts (
    LIKE window_shape INCLUDING STORAGE INCLUDING DEFAULTS, correct boolean, day date, hour int
) ON COMMIT DELETE ROWS;

-- The learners of a refold. All of their conclusions may change, also if no fact is left from which they follow.
CREATE TEMPORARY TABLE window_refolded (user_id varchar(200) COLLATE "C") ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_events;
DELETE FROM window_facts;
DELETE FROM window_refolded;

-- fold --
-- Each learner is looked up once: whether the learner was deleted, and the zones and offsets for the span of the
-- learner's events. From here on, times have the limits with which they count in sums and means.
WITH learners AS MATERIALIZED (
    SELECT user_id,
        min(occurred_at) FILTER (WHERE kind IN ({dated_kinds})) AS first_at,
        max(occurred_at) FILTER (WHERE kind IN ({dated_kinds})) AS last_at
    FROM window_events
    WHERE user_id IS NOT NULL AND kind <> 'deletion'
    GROUP BY user_id
), shifts AS MATERIALIZED (
    SELECT l.user_id, z.starts, z.shifts, z.offsets
    FROM learners l
    CROSS JOIN LATERAL zone_shifts(l.user_id, l.first_at, l.last_at) z
    WHERE NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = l.user_id OFFSET 0)
)
INSERT INTO window_facts
SELECT e.global_position, e.kind, e.user_id, e.occurred_at, e.event_id, e.created_at, e.grade, e.item_id, e.session_id,
    {counted_columns}, e.due_at, e.change, e.grade >= 2,
    {read_models/facts local_time}
FROM window_events e
JOIN shifts s ON s.user_id = e.user_id
WHERE e.user_id IS NOT NULL AND kind <> 'deletion';

-- halved --
CASE WHEN h.half IS DISTINCT FROM '{other}' THEN {value} END AS {column}

-- grade --
-- The grade of an answer.
CASE d.event_type
        WHEN 'CorrectAnswerGiven' THEN 3
        WHEN 'IncorrectAnswerGiven' THEN 1
        WHEN 'CardReviewed' THEN CASE WHEN d.kind = 'card' THEN CAST((d.event_data ->> 'rating') AS int) END
    END

-- due --
-- The time of the next review of a CardReviewed, as sent or after the interval as sent, within the limits with which it
-- counts.
CASE WHEN d.kind = 'card' AND (d.event_data ->> 'due') IS NOT NULL
        THEN least(greatest(CAST((d.event_data ->> 'due') AS {moment}), d.occurred_at),
            d.occurred_at + 36500 * INTERVAL '24 hours')
        WHEN d.kind = 'card' THEN d.occurred_at + INTERVAL '1 microsecond' * trunc(
            least(CAST((d.event_data ->> 'interval_days') AS double precision), 36500) * 86400000000) END

-- card response_ms --
CAST(floor(CAST((d.event_data ->> 'duration_ms') AS double precision)) AS bigint)

-- card interval_days --
-- Without `interval_days`, the whole days of 24 hours until `due`, which does not count before the review.
coalesce(CAST(floor(CAST((d.event_data ->> 'interval_days') AS double precision)) AS bigint),
            CAST(date_part('day', greatest(CAST((d.event_data ->> 'due') AS {moment}), d.occurred_at) - d.occurred_at)
                AS bigint))

-- value of card --

        WHEN d.kind = 'card' THEN {value}

-- counted --
CASE WHEN e.{column} > {limit} THEN {limit} ELSE e.{column} END

-- kind_of_fact --
CASE d.event_type
        {kinds}
    END

-- kind --
WHEN '{event_type}' THEN '{kind}'

-- kind if --
WHEN '{event_type}' THEN CASE WHEN {rule} THEN '{kind}' END

-- kind of list --
-- Only an event of a declared type is in such a stream.
WHEN '{event_type}' THEN CASE WHEN d.stream_id LIKE 'list-%' THEN '{kind}' WHEN {rule} THEN '{own}' END

-- list columns --
-- Each column is null for types that do not declare its field. In the data of one event, `kind` is the item's.
CASE WHEN d.stream_id LIKE 'learner-%' THEN substr(d.stream_id, 9) END AS user_id,
    d.event_type, d.occurred_at, d.event_id,
    (d.event_data ->> 'group_id') AS group_id, (d.event_data ->> 'list_id') AS list_id,
    (d.event_data ->> 'item_id') AS item_id,
    CASE WHEN d.event_type = 'ListPublished' THEN (d.event_data ->> 'name') END AS name,
    CASE WHEN d.event_type = 'ListPublished' THEN nullif((d.event_data ->> 'scale'), '') END AS scale,
    CASE WHEN d.event_type = 'ListPublished' THEN {cast}((d.event_data ->> 'rank') AS bigint) END AS rank,
    CASE WHEN d.event_type = 'ItemListed' THEN {cast}((d.event_data ->> 'position') AS bigint) END AS position,
    CASE WHEN d.event_type = 'ItemListed' THEN (d.event_data ->> 'headword') END AS headword,
    CASE WHEN d.event_type = 'ItemListed' THEN nullif((d.event_data ->> 'kind'), '') END AS kind,
    CASE WHEN d.event_type = 'ListAssigned' THEN {cast}((d.event_data ->> 'due_on') AS date) END AS due_on

-- is_of_group --
d.stream_id LIKE 'group-%'

-- plain text --
ALTER {column} SET STORAGE PLAIN

-- is_of --
d.event_type IN ({types})

-- is_kind --
d.kind = '{kind}'

-- value --
CASE WHEN {is_declared}
        THEN {value} END AS {column}

-- cast value --
{cast}((d.event_data ->> '{field}') AS {type})

-- text value --
(d.event_data ->> '{field}')

-- text value or removal --
coalesce((d.event_data ->> '{field}'), '')

-- json value --
CAST((d.event_data -> '{field}') AS text)

-- names_learner --
d.stream_id LIKE 'learner-%' AND coalesce((d.event_data ->> 'user_id'), (d.metadata ->> 'user_id')) IS NOT NULL

-- accepts card --
d.stream_id LIKE 'learner-%' AND coalesce((d.event_data ->> 'due'), (d.event_data ->> 'interval_days')) IS NOT NULL

-- is_number --
CASE WHEN CAST((d.event_data -> '{field}') AS text) ~ '{pattern}'
            THEN CAST((d.event_data ->> '{field}') AS {type}) BETWEEN {low} AND {high} END

-- is_one_of --
CAST((d.event_data -> '{field}') AS text) IN ({texts})

-- is_string --
CAST((d.event_data -> '{field}') AS text) LIKE '"%'
            AND length((d.event_data ->> '{field}')) BETWEEN {low} AND {high}

-- matches --
(d.event_data ->> '{field}') ~ '{pattern}'

-- is_moment --
-- Most times pass a test that only valid strings pass, in half the time of the rule; LIKE tells the number of digits.
((d.event_data ->> '{field}') LIKE '____-__-__T__:__:__.______Z' AND (d.event_data ->> '{field}')
    ~ '^[1-9][0-9]*-(0[1-9]|1[0-2])-([01][1-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]*:[0-5][0-9]*[.][0-9]*Z$'
    OR {rule})

-- is_removable --
(CAST((d.event_data -> '{field}') AS text) = 'null' OR {rule})

-- is_optional --
((d.event_data ->> '{field}') IS NULL OR {rule})
