-- What learners record about themselves, by posts and mutations, and what teachers do with tasks.

-- find --
-- What a mutation asks before it records its event. Whether the learner is deleted or erased; their local day; the
-- recorded event with the given id, and its position; the stream's version. `retracted` is the event with the id
-- :retracted_id, if it is a goal or a rest day of the learner. `decided_at` is the time of the latest choice of this
-- kind. `taken` are the days of :days that are rest days or will be once the log is folded: those of the read model and
-- of what follows it in the log or, if a retraction follows, those of the log.
WITH today AS (
    {read_models/preferences today}
), w AS (
    SELECT 'learner-' || CAST(:user_id AS text) AS stream_id, CAST(:days AS date[]) AS days,
        CAST(:event_type AS text) AS event_type, CAST(:item_id AS text) AS item_id
), tail AS MATERIALIZED (
    SELECT e.*
    FROM w JOIN checkpoints c ON c.shard = event_store.shard_of(w.stream_id)
    CROSS JOIN LATERAL (
        SELECT * FROM events e WHERE e.shard = c.shard AND e.global_position > c.position OFFSET 0
    ) AS e
    WHERE e.stream_id = w.stream_id
), changed AS MATERIALIZED (
    SELECT cardinality(w.days) > 0
        AND EXISTS (SELECT FROM tail t WHERE t.event_type = 'EventRetracted') AS by_retraction
    FROM w
), rests AS (
    SELECT e.event_id, e.stream_id, d.day
    FROM w, changed c
    CROSS JOIN LATERAL (
        SELECT * FROM tail t WHERE t.event_type = 'RestDayTaken'
        UNION ALL
        SELECT * FROM events l
        WHERE c.by_retraction AND l.stream_id = w.stream_id AND l.event_type = 'RestDayTaken'
    ) AS e
    JOIN unnest(w.days) AS d (day) ON CAST(d.day AS text) = e.event_data ->> 'date'
)
SELECT
    coalesce((SELECT max(e.stream_version) FROM events e WHERE e.stream_id = w.stream_id), 0) AS version,
    EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = :user_id)
        OR event_store.is_erased(CAST(:user_id AS text)) AS is_gone,
    today.day AS today, recorded.position, recorded.content AS recorded,
    (SELECT jsonb_build_object('occurred_at', f.occurred_at, 'rest_day', f.rest_day)
     FROM facts f
     WHERE f.event_id = event_store.event_uuid(:retracted_id) AND f.kind IN ('goal', 'rest_day')
       AND f.stream_id = w.stream_id) AS retracted,
    (SELECT max(d.at)
     FROM (
        SELECT a.decided_at AS at FROM set_aside_items a WHERE a.user_id = :user_id AND a.item_id = w.item_id
        UNION ALL
        SELECT max(g.occurred_at) FROM goals g WHERE g.user_id = :user_id AND w.event_type = 'GoalSet'
        UNION ALL
        SELECT t.occurred_at FROM tail t
        WHERE CASE WHEN w.event_type = 'GoalSet' THEN t.event_type = 'GoalSet'
            ELSE t.event_type IN ('ItemSetAside', 'ItemResumed') AND t.event_data ->> 'item_id' = w.item_id END
     ) d) AS decided_at,
    ARRAY(
        SELECT r.day FROM rest_days r, changed c
        WHERE r.user_id = :user_id AND r.day = ANY (w.days) AND NOT c.by_retraction
        UNION
        SELECT e.day FROM rests e WHERE NOT {read_models/facts is_named}
    ) AS taken
FROM today, w LEFT JOIN LATERAL (
    SELECT e.global_position AS position, jsonb_build_array(e.event_type, e.event_data) AS content
    FROM events e WHERE e.event_id = :event_id
) AS recorded ON true;

-- append --
-- A wait for other appends ends before the call, whose end would count as an outage of the database.
SELECT to_jsonb(a) AS recorded
FROM (SELECT set_config('lock_timeout', :lock_timeout, true) AS text OFFSET 0) limited
CROSS JOIN LATERAL event_store.append_own(CASE WHEN limited.text <> '' THEN CAST(:user_id AS text) END,
    CAST(:entries AS jsonb), CAST(:expected_version AS bigint), :is_mutation,
    CAST(:seen_version AS bigint), CAST(:seen AS timestamptz)) AS a;

-- find task --
-- What a teacher's call has recorded, and whether what it names is there: an event of the group; the list, for the
-- reader, and not archived; and all items. `missing_item` is the first that the catalogue does not have.
SELECT t.list_id, 0 AS events, t.global_position AS position, t.is_assigned,
    EXISTS (SELECT FROM group_members m WHERE m.group_id = :group_id)
        OR EXISTS (SELECT FROM list_assignments a WHERE a.group_id = :group_id) AS has_group,
    EXISTS (SELECT FROM ({read_models/lists published}) AS l WHERE l.id = :list_id AND NOT l.archived) AS has_list,
    (SELECT i.id
     FROM unnest(CAST(:item_ids AS text[])) WITH ORDINALITY AS i (id, n)
     WHERE NOT EXISTS (SELECT FROM items d WHERE d.item_id = i.id AND d.in_catalogue)
     ORDER BY i.n
     LIMIT 1) AS missing_item
FROM event_store.find_tasks(:caller, :mutation, :key, :group_id, :list_id, :name, :item_ids, :due_on) AS t;

-- append task --
SELECT a.list_id, a.events, a.shards, a.global_position AS position
FROM (SELECT set_config('lock_timeout', :lock_timeout, true) AS text OFFSET 0) limited
CROSS JOIN LATERAL event_store.append_tasks(CASE WHEN limited.text <> '' THEN CAST(:caller AS text) END,
    :mutation, :key, :group_id, :list_id, :name, :item_ids, :due_on) AS a;
