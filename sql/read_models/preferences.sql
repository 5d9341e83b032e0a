-- A learner's preference events, and the periods in which each zone and day start were in force.
-- The local day of t is date(t + utc_offset - day_start), with the zone's utc_offset at t (see facts.sql).

-- table --
CREATE TABLE preferences (
    user_id     text COLLATE "C" NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id    uuid        NOT NULL,
    timezone    text COLLATE "C",          -- null: the former value is kept
    day_start   interval,                  -- null: the former value is kept
    PRIMARY KEY (user_id, occurred_at, event_id)
);

-- If a learner has no row, UTC and day_start 0 are in force.
CREATE TABLE zones_in_force (
    user_id   text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,        -- -infinity for the first period
    ends_at   timestamptz NOT NULL,        -- exclusive; infinity for the last period
    timezone  text COLLATE "C" NOT NULL,
    day_start interval NOT NULL,           -- after midnight, on the wall clock
    PRIMARY KEY (user_id, starts_at)
);

-- views --
-- The periods between the preference events, with the zone and the start of the day. The first event also governs the
-- time before it. Of two events at one instant, the event with the greater id governs. A field that an event leaves out
-- keeps its value.
CREATE VIEW governing_zones AS
WITH counted AS (
    SELECT *,
        count(timezone)  OVER earlier AS zones_so_far,
        count(day_start) OVER earlier AS starts_so_far,
        row_number()     OVER earlier AS place,
        lead(occurred_at) OVER earlier AS next_at
    FROM preferences
    WINDOW earlier AS (PARTITION BY user_id ORDER BY occurred_at, event_id)
), resolved AS (
    SELECT user_id, occurred_at, place, next_at,
        coalesce(max(timezone)  OVER (PARTITION BY user_id, zones_so_far), 'UTC') AS timezone,
        coalesce(max(day_start) OVER (PARTITION BY user_id, starts_so_far), '0')  AS day_start
    FROM counted
), timeline AS (
    SELECT r.user_id, s.starts_at, r.timezone, r.day_start
    FROM resolved r
    CROSS JOIN LATERAL (
        SELECT '-infinity'::timestamptz WHERE r.place = 1
        UNION ALL
        SELECT r.occurred_at WHERE r.next_at IS DISTINCT FROM r.occurred_at
    ) s (starts_at)
), compared AS (
    SELECT *, lag((timezone, day_start)) OVER (PARTITION BY user_id ORDER BY starts_at) AS before
    FROM timeline
)
SELECT user_id, starts_at, lead(starts_at, 1, 'infinity') OVER (PARTITION BY user_id ORDER BY starts_at) AS ends_at,
    timezone, day_start
FROM compared
WHERE before IS DISTINCT FROM (timezone, day_start);

-- Segments of time in which the learner's shift is constant: the local day of t is date(t + the shift of t's segment).
CREATE VIEW segments AS
SELECT
    z.user_id,
    greatest(z.starts_at, r.starts_at) AS starts_at,
    least(z.ends_at, r.ends_at)        AS ends_at,   -- exclusive
    r.utc_offset - z.day_start         AS shift
FROM zones_in_force z
JOIN zone_rules r ON r.zone = z.timezone AND r.starts_at < z.ends_at AND r.ends_at > z.starts_at;

-- definition --
SELECT e.user_id, e.occurred_at, e.event_id, e.timezone, e.day_start_hour
FROM facts e
WHERE e.kind = 'preference'
  AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)

-- definition zones_in_force --
-- The steps are the same as in the view governing_zones.
WITH counted AS (
    SELECT user_id, occurred_at, timezone, day_start_hour,
        count(timezone)       OVER earlier AS zones_so_far,
        count(day_start_hour) OVER earlier AS starts_so_far,
        row_number()          OVER earlier AS place,
        lead(occurred_at)     OVER earlier AS next_at
    FROM preferences
    WINDOW earlier AS (PARTITION BY user_id ORDER BY occurred_at, event_id)
), resolved AS (
    SELECT user_id, occurred_at, place, next_at,
        coalesce(max(timezone) OVER (PARTITION BY user_id, zones_so_far), 'UTC')    AS timezone,
        coalesce(max(day_start_hour) OVER (PARTITION BY user_id, starts_so_far), 0) AS day_start_hour
    FROM counted
), timeline AS (
    SELECT user_id, CAST('-infinity' AS timestamp) AS starts_at, timezone, day_start_hour
    FROM resolved
    WHERE place = 1
    UNION ALL
    SELECT user_id, occurred_at, timezone, day_start_hour
    FROM resolved
    WHERE next_at IS DISTINCT FROM occurred_at
), compared AS (
    SELECT user_id, starts_at, timezone, day_start_hour,
        lag((timezone, day_start_hour)) OVER (PARTITION BY user_id ORDER BY starts_at) AS before
    FROM timeline
)
SELECT user_id, starts_at,
    lead(starts_at, 1, CAST('infinity' AS timestamp)) OVER (PARTITION BY user_id ORDER BY starts_at) AS ends_at,
    timezone, day_start_hour
FROM compared
WHERE before IS DISTINCT FROM (timezone, day_start_hour)

-- loaded --
-- The rows in the form that PostgreSQL loads: hours become intervals.
SELECT user_id, occurred_at, event_id, timezone, day_start_hour || ' hours' AS day_start
FROM preferences

-- loaded zones_in_force --
SELECT user_id, starts_at, ends_at, timezone, day_start_hour || ' hours' AS day_start
FROM zones_in_force

-- live --
SELECT user_id, occurred_at, event_id, timezone, CAST(extract(epoch FROM day_start) / 3600 AS bigint) AS day_start_hour
FROM preferences

-- live zones_in_force --
SELECT user_id, starts_at, ends_at, timezone, CAST(extract(epoch FROM day_start) / 3600 AS bigint) AS day_start_hour
FROM zones_in_force

-- snapshot --
(SELECT array_agg(t)::text FROM preferences t WHERE t.user_id = learner)

-- delete_learners --
DELETE FROM preferences WHERE user_id = ANY (learners);
DELETE FROM zones_in_force WHERE user_id = ANY (learners);

-- today --
-- The learner's local day at the time of the query.
SELECT CAST(CAST(:now AS timestamptz) + coalesce((
    SELECT shift FROM segments
    WHERE user_id = :user_id AND starts_at <= :now AND ends_at > :now
), INTERVAL '0 hours') AS date) AS day

-- local day --
-- When a local day begins and ends: the first times whose local day is this day, or later, and the next day, or later.
SELECT CAST(:day AS date) AS date, min(b.begins_at) AS start, max(b.begins_at) AS "end"
FROM (VALUES (CAST(:day AS date)), (CAST(:day AS date) + 1)) AS d (day)
CROSS JOIN LATERAL (
    SELECT coalesce(min(t.reached_at) FILTER (WHERE t.reached_at < s.ends_at), d.day AT TIME ZONE 'UTC') AS begins_at
    FROM segments s
    CROSS JOIN LATERAL (SELECT greatest(s.starts_at, (d.day - s.shift) AT TIME ZONE 'UTC')) AS t (reached_at)
    WHERE s.user_id = :user_id
) b;
