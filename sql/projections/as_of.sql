-- Queries about the past: one statement computes the definitions that the queries of a request read, over the events of
-- one learner up to a time, and runs these queries on the result. Each relation has the name of a live table or view,
-- and so hides it. If the times leave out no event of the learner, the learner's live rows take the place of the
-- definitions.

-- statement --
-- The answers are one row, with an array of rows for each query.
WITH {relations}
SELECT * FROM (
{seen}
SELECT {answers}
) AS answered;

-- live relation --
-- NOT MATERIALIZED, so that an index finds the rows that a query selects.
{name} AS NOT MATERIALIZED (
{query}
)

-- all rows --
SELECT * FROM {name}

-- live rows --
SELECT * FROM ({query}) AS live WHERE user_id = :user_id

-- relation --
-- MATERIALIZED, because the planner cannot estimate the sizes of relations, and might compute one many times.
{name} AS MATERIALIZED (
{query}
)

-- seen items --
-- The form of the live table, which the queries read. Each query computes only the columns that it reads.
WITH items AS NOT MATERIALIZED (
    SELECT item_id, headword, level, string_to_array(nullif(domains, ''), NULL) AS domains, described_at, in_catalogue,
        language, kind
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

-- is_live answer --
({projections/as_of is_live}) AS is_live

-- selected --
-- The number of the learner's events, those after the time included, and whether the live rows are those of the
-- selected events.
SELECT coalesce(max(stream_version), 0) AS events,
    ({projections/as_of is_live}) AS is_live
FROM event_store.events
WHERE stream_id = 'learner-' || CAST(:user_id AS text);

-- is_live --
-- True if all of the learner's events are folded, and the times leave none out. The latest snapshot tells the newest
-- time of the events that it contains, so that only its last event and later ones are read. An event is never recorded
-- at an earlier time than the event before it.
SELECT CASE WHEN s.newest_occurred_at > :as_of THEN FALSE ELSE NOT EXISTS (
        SELECT
        FROM event_store.events e
        WHERE e.stream_id = 'learner-' || CAST(:user_id AS text) AND e.stream_version >= coalesce(s.stream_version, 1)
          AND (e.global_position > c.position OR e.occurred_at > :as_of OR e.created_at > :known_at)
    ) END
    FROM checkpoints c
    LEFT JOIN LATERAL (
        SELECT stream_version, newest_occurred_at
        FROM event_store.snapshots
        WHERE stream_id = 'learner-' || CAST(:user_id AS text) AND fingerprint = snapshot_fingerprint()
        ORDER BY stream_version DESC
        LIMIT 1
    ) s ON TRUE
    WHERE c.shard = event_store.shard_of('learner-' || CAST(:user_id AS text))
