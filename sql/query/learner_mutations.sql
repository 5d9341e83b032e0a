-- What a mutation of the learner asks before it publishes its event, and announces.

-- find --
-- Whether the learner has events, and is deleted or erased; their local day; the recorded event with the given id.
-- `retracted` is the event with the id :retracted_id, if it is a goal or a rest day of the learner.
-- `decided_at` is the time of the latest recorded event that sets the item :item_id aside or resumes it.
-- `taken` are the days of the given days that are rest days of the learner, or will be once the log is folded.
WITH today AS (
    {read_models/preferences today}
)
SELECT
    EXISTS (SELECT FROM events e WHERE e.stream_id = 'learner-' || CAST(:user_id AS text)) AS is_known,
    EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = :user_id)
        OR event_store.is_erased(CAST(:user_id AS text)) AS is_gone,
    today.day AS today,
    (SELECT jsonb_build_array(e.event_type, e.event_data) FROM events e WHERE e.event_id = :event_id) AS recorded,
    (SELECT jsonb_build_object('event_id', f.event_id, 'occurred_at', f.occurred_at, 'rest_day', f.rest_day)
     FROM facts f
     WHERE f.event_id = event_store.event_uuid(:retracted_id) AND f.kind IN ('goal', 'rest_day')
       AND f.stream_id = 'learner-' || CAST(:user_id AS text)) AS retracted,
    (SELECT max(d.at)
     FROM (
        SELECT a.decided_at AS at FROM set_aside_items a WHERE a.user_id = :user_id AND a.item_id = w.item_id
        UNION ALL
        SELECT e.occurred_at
        FROM checkpoints c
        JOIN events e ON e.event_type IN ('ItemSetAside', 'ItemResumed') AND e.global_position > c.position
            AND e.stream_id = 'learner-' || CAST(:user_id AS text) AND e.event_data ->> 'item_id' = w.item_id
        WHERE c.shard = event_store.shard_of('learner-' || CAST(:user_id AS text))
     ) d) AS decided_at,
    ARRAY(
        SELECT r.day FROM rest_days r WHERE r.user_id = :user_id AND r.day = ANY (w.days)
        UNION
        SELECT d.day
        FROM checkpoints c
        JOIN events e ON e.event_type = 'RestDayTaken' AND e.global_position > c.position
            AND e.stream_id = 'learner-' || CAST(:user_id AS text)
            AND NOT {read_models/facts is_named}
        JOIN unnest(w.days) AS d (day) ON CAST(d.day AS text) = e.event_data ->> 'date'
        WHERE c.shard = event_store.shard_of('learner-' || CAST(:user_id AS text))
    ) AS taken
FROM today, (SELECT CAST(:days AS date[]) AS days, CAST(:item_id AS text) AS item_id) AS w;

-- announce --
-- Announce an event; return whether it is new, and the announced events of its scope. Without a row, the learner is
-- erased.
SELECT is_new, contents FROM event_store.announce(:user_id, :scope, :event_id, :content, :seconds);

-- withdraw --
SELECT event_store.withdraw(:user_id, :scope, :event_id);

-- position --
-- The event's position, if it is recorded.
SELECT global_position AS position FROM events WHERE event_id = :event_id;
