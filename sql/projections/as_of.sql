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

-- each --
-- In place of the comment /* each */: look up each row, because a join would compute the whole past catalogue.
OFFSET 0

-- all rows --
SELECT * FROM {name}

-- own rows --
-- The present rows of a learner who is known at the time; otherwise, none.
SELECT * FROM {name} WHERE user_id = :user_id AND EXISTS (SELECT FROM known_learners)

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

-- of group statement --
-- The answer to one query about the present members of a group, over the events of all of them. If most relations are
-- live rows, the condition is whether these tell the past; without it, there is no row.
WITH {relations}
SELECT * FROM (
{seen}
SELECT * FROM (
{query}
) AS answer
) AS answered
{condition};

-- of group events selected --
-- The number of the members' events.
SELECT CAST(coalesce(sum((
    SELECT max(e.stream_version) FROM event_store.events e WHERE e.stream_id = 'learner-' || m.user_id)), 0) AS bigint)
    AS events
FROM group_members m
WHERE m.group_id = :group_id AND m.is_member;

-- of group is settled --
-- Whether the live rows tell the past of every member: all events are folded; none is retracted after the time; and the
-- zones before the time do not come from a later preference.
WHERE NOT EXISTS (
    SELECT
    FROM group_members m
    WHERE (SELECT min(p.occurred_at) FROM preferences p WHERE p.user_id = m.user_id) > :as_of
       OR EXISTS (
           SELECT FROM event_store.events e
           WHERE e.stream_id = 'learner-' || m.user_id AND e.event_type = 'EventRetracted' AND e.occurred_at > :as_of)
       OR (
           SELECT e.global_position FROM event_store.events e
           WHERE e.stream_id = 'learner-' || m.user_id ORDER BY e.stream_version DESC LIMIT 1
       ) > (SELECT c.position FROM checkpoints c WHERE c.shard = event_store.shard_of('learner-' || m.user_id)))

-- settled given_answers --
SELECT * FROM given_answers
WHERE user_id = ANY (ARRAY(SELECT user_id FROM group_members)) AND occurred_at <= :as_of

-- settled daily_stats --
-- The columns that the queries about a group read. No event after the time has a local day that is more than two days
-- before the time's date in UTC, so the live rows of the days before these tell the past.
SELECT user_id, day, answers, correct_answers, sessions_completed
FROM daily_stats
WHERE user_id = ANY (ARRAY(SELECT user_id FROM group_members)) AND day < CAST(CAST(:as_of AS timestamptz) AS date) - 2
UNION ALL
SELECT user_id, day, CAST(sum(answers) AS bigint) AS answers, CAST(sum(correct_answers) AS bigint) AS correct_answers,
    CAST(sum(sessions_completed) AS bigint) AS sessions_completed
FROM (
    SELECT user_id, day, count(*) AS answers, count(*) FILTER (WHERE grade >= 2) AS correct_answers,
        0 AS sessions_completed
    FROM given_answers
    GROUP BY user_id, day
    UNION ALL
    SELECT user_id, day, 0, 0, count(*)
    FROM completions
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM group_members)) AND occurred_at <= :as_of
    GROUP BY user_id, day
) d
WHERE day >= CAST(CAST(:as_of AS timestamptz) AS date) - 2
GROUP BY user_id, day

-- settled weekly_stats --
SELECT user_id, day - CAST((day - DATE '1990-01-01') % 7 AS integer) AS monday,
    count(*) FILTER (WHERE {read_models/daily_stats is_study_day}) AS active_days,
    CAST(sum(answers) AS bigint) AS answers, CAST(sum(correct_answers) AS bigint) AS correct_answers
FROM daily_stats d
GROUP BY 1, 2

-- settled user_progress --
SELECT user_id, items_learned FROM item_stats

-- settled item_stats --
-- A row for each learner, not for each item.
SELECT s.user_id, s.items_learned, a.last_answered_at, CAST(NULL AS bigint) AS stability,
    CAST(NULL AS date) AS last_answered_on, FALSE AS last_correct
FROM (
    SELECT user_id, count(*) FILTER (WHERE first_correct_at <= :as_of) AS items_learned
    FROM item_stats
    WHERE user_id = ANY (ARRAY(SELECT user_id FROM group_members))
    GROUP BY user_id
) s
LEFT JOIN (
    SELECT user_id, max(occurred_at) AS last_answered_at
    FROM given_answers
    WHERE CAST(:last_answers AS boolean)
    GROUP BY user_id
) a USING (user_id)

-- settled goals --
SELECT * FROM goals WHERE occurred_at <= :as_of AND user_id = ANY (ARRAY(SELECT user_id FROM group_members))

-- settled events --
-- A rest day of which a later event tells may displace one: the events of the members with rest days are read, and
-- retractions, which take rest days back.
{projections/as_of of group events}
  AND e.event_type IN ('RestDayTaken', 'EventRetracted')
  AND e.stream_id = ANY (ARRAY(SELECT DISTINCT 'learner-' || user_id FROM rest_days))

-- of group members --
-- The present members, at every time. None of them is deleted: a deletion ends each membership.
SELECT * FROM group_members WHERE group_id = :group_id AND is_member

-- of group events --
-- As `as_of events`, of all members.
SELECT e.global_position, e.event_id, e.event_type, e.event_data, e.metadata, e.stream_id,
    substr(e.stream_id, 9) AS user_id, e.occurred_at, e.created_at,
    (e.event_data ->> 'item_id') COLLATE "C" AS item_id, (e.event_data ->> 'session_id') COLLATE "C" AS session_id
FROM event_store.events e
WHERE e.stream_id = ANY (ARRAY(SELECT 'learner-' || user_id FROM group_members WHERE is_member))
  AND e.event_type IN ({past_types})
  AND e.occurred_at <= :as_of
  AND e.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))

-- of group deleted --
SELECT CAST('' AS text) AS user_id WHERE FALSE

-- of group zones --
-- With the column of the live table.
SELECT z.*, z.day_start_hour * INTERVAL '1 hour' AS day_start FROM (
{query}
) AS z

-- of group without memory --
SELECT m.*, CAST(NULL AS bigint) AS stability, CAST(NULL AS bigint) AS difficulty,
    CAST(NULL AS date) AS last_answered_on, FALSE AS last_correct
FROM (
{query}
) AS m

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
