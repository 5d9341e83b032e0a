-- Queries about the past: one statement computes the definitions that the queries of a request read, over the events of
-- one learner up to a time, and runs these queries on the result. Each relation has the name of a live table or view,
-- and so hides it.

-- statement --
-- The answers are one row, with an array of rows for each query.
WITH {relations}
SELECT * FROM (
{seen}
SELECT {answers}
) AS answered;

-- relation --
-- MATERIALIZED, because the planner cannot estimate the sizes of relations, and might compute one many times.
{name} AS MATERIALIZED (
{query}
)

-- seen items --
-- The form of the live table, which the queries read.
WITH items AS (
    SELECT item_id, headword, level, string_to_array(nullif(domains, ''), NULL) AS domains, described_at, in_catalogue,
        language
    FROM items
)

-- segments --
-- The same segments as in the view (sql/read_models/preferences.sql).
SELECT z.user_id, greatest(z.starts_at, o.starts_at) AS starts_at, least(z.ends_at, o.ends_at) AS ends_at,
    (o.seconds - 3600 * z.day_start_hour) * INTERVAL '1 second' AS shift
FROM zones_in_force z
JOIN zone_offsets o ON o.zone = z.timezone AND o.starts_at < z.ends_at AND o.ends_at > z.starts_at

-- answer --
(SELECT array_agg(answer) FROM (
{query}
) AS answer) AS {name}

-- count_events --
-- The number of the learner's events, those after the time included.
SELECT coalesce(max(stream_version), 0) AS events
FROM event_store.events
WHERE stream_id = 'learner-' || CAST(:user_id AS text);
