-- The audit trail for support staff: events as they were recorded, and what became of each in the numbers.
-- Held by: query/test_why.py.

-- list_events --
-- The events of a learner's stream before a given version, newest first: a RecordedEvent as JSON in each row. Those of
-- a session are found as the session is: by exactly its id, or by the own id of a learner who posts.
WITH found AS MATERIALIZED (
    SELECT * FROM event_store.events e
    WHERE e.stream_id = 'learner-' || CAST(:user_id AS text) AND {query/audit_trail chosen}
    ORDER BY e.stream_version DESC
    LIMIT CAST(:first AS bigint)
)
{query/audit_trail found};

-- events of day --
-- The same of one local day of the learner, by the present preferences. The index has hashes of streams, and days in
-- UTC; the local day of an event is at most two days earlier and one day later.
WITH shifts AS MATERIALIZED (
    SELECT starts_at, ends_at, shift
    FROM segments
    WHERE user_id = :user_id AND starts_at < CAST(:day AS date) + 4 AND ends_at > CAST(:day AS date) - 2
), near AS MATERIALIZED (
    SELECT * FROM event_store.events e
    WHERE hashtext(e.stream_id) = hashtext('learner-' || CAST(:user_id AS text))
      AND CAST(e.occurred_at AT TIME ZONE 'UTC' AS date) BETWEEN CAST(:day AS date) - 1 AND CAST(:day AS date) + 2
), found AS MATERIALIZED (
    SELECT e.*
    FROM near e
    LEFT JOIN shifts s ON s.starts_at <= e.occurred_at AND s.ends_at > e.occurred_at
    WHERE e.stream_id = 'learner-' || CAST(:user_id AS text)
      AND CAST(e.occurred_at + coalesce(s.shift, INTERVAL '0 hours') AS date) = :day
      AND {query/audit_trail chosen}
    ORDER BY e.stream_version DESC
    LIMIT CAST(:first AS bigint)
)
{query/audit_trail found};

-- event --
-- The recorded event with this id, whosesoever.
WITH found AS MATERIALIZED (
    SELECT * FROM event_store.events e
    WHERE e.event_id = event_store.event_uuid(:event_id)
      AND (CAST(:types AS text[]) IS NULL OR e.event_type = ANY (:types))
)
{query/audit_trail found};

-- chosen --
e.stream_version < coalesce(CAST(:before AS bigint), 9223372036854775807)
      AND (CAST(:types AS text[]) IS NULL OR e.event_type = ANY (:types))
      AND (CAST(:item_id AS text) IS NULL OR e.event_data ->> 'item_id' = :item_id)
      AND (CAST(:id AS text) IS NULL OR e.event_data ->> 'session_id' = ANY (coalesce((
          SELECT ARRAY[l.session_id] FROM learner_sessions l
          WHERE l.user_id = :user_id AND l.session_id IN (CAST(:id AS text), CAST(:own_id AS text))
          ORDER BY l.session_id <> :id LIMIT 1
      ), ARRAY[CAST(:id AS text), CAST(:own_id AS text)])))

-- found --
-- The events of `found`, each with what became of it in the numbers. `rests` has the first event of each rest day.
, rests AS MATERIALIZED (
    SELECT DISTINCT ON (f.user_id, f.rest_day) f.event_id
    FROM (SELECT DISTINCT stream_id FROM found WHERE event_type = 'RestDayTaken') s
    JOIN event_store.events e ON e.stream_id = s.stream_id AND e.event_type = 'RestDayTaken'
    CROSS JOIN LATERAL (SELECT * FROM facts f WHERE f.global_position = e.global_position OFFSET 0) f
    JOIN rest_days r ON r.user_id = f.user_id AND r.day = f.rest_day
    WHERE f.kind = 'rest_day' AND NOT {read_models/facts is_named}
      AND e.global_position <= (SELECT c.position FROM checkpoints c WHERE c.shard = e.shard)
    ORDER BY f.user_id, f.rest_day, f.occurred_at, f.event_id
)
SELECT {query/audit_trail as_json}
FROM found e
CROSS JOIN LATERAL (
    SELECT f.kind, f.user_id, f.session_id FROM facts f WHERE f.global_position = e.global_position OFFSET 0
) f
CROSS JOIN LATERAL (SELECT is_retractable(e.event_type) AND {read_models/facts is_named} AS retracted OFFSET 0) t
ORDER BY e.stream_version DESC

-- counted --
CASE
    WHEN e.event_type = 'Erased' OR EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = f.user_id) THEN 'NOBODYS'
    WHEN e.global_position = ANY (ARRAY(SELECT p.global_position FROM poisoned_events p)) THEN 'POISONED'
    WHEN e.event_type <> ALL (CAST(:declared AS text[])) THEN 'UNDECLARED'
    WHEN f.kind IS NULL THEN 'REFUSED'
    WHEN e.global_position > (SELECT c.position FROM checkpoints c WHERE c.shard = e.shard) THEN 'NOT_YET'
    WHEN t.retracted THEN 'RETRACTED'
    WHEN f.kind = 'completion' AND NOT EXISTS (
        SELECT FROM completions c
        WHERE c.user_id = f.user_id AND c.session_id = f.session_id AND c.event_id = e.event_id
    ) THEN 'SECOND_COMPLETION'
    WHEN f.kind = 'rest_day' AND e.event_id <> ALL (ARRAY(SELECT r.event_id FROM rests r)) THEN 'WITHOUT_EFFECT'
    WHEN f.kind = 'retraction' AND {read_models/facts is_vain} THEN 'WITHOUT_EFFECT'
    ELSE 'COUNTED'
END

-- as_json --
json_build_object(
    'event_id', e.event_id, 'stream_id', e.stream_id, 'stream_version', e.stream_version,
    'global_position', CAST(e.global_position AS text), 'event_type', e.event_type,
    'retracted', t.retracted, 'counted', {query/audit_trail counted}, 'data', CAST(e.event_data AS text),
    'correlation_id', e.metadata ->> 'correlation_id', 'causation_id', e.metadata ->> 'causation_id',
    'posted_by', e.metadata ->> 'posted_by', 'source_id', e.metadata ->> 'source_id',
    'occurred_at', e.occurred_at, 'recorded_at', e.created_at)

-- own posts --
-- Whether one of the newest 1,000 events of a learner was posted with the learner's own token, and how many posts were
-- dropped because their id had other content. Nothing about an unknown or a deleted learner.
SELECT count(*) > 0 AS recently, (
    SELECT coalesce(sum(c.conflicts), 0)::bigint FROM event_store.learner_conflicts c WHERE c.user_id = :user_id
) AS conflicts
FROM (
    SELECT e.metadata FROM events e
    WHERE e.stream_id = 'learner-' || CAST(:user_id AS text)
    ORDER BY e.stream_version DESC LIMIT 1000
) newest
WHERE newest.metadata ->> 'posted_by' = 'learner'
  AND EXISTS (SELECT FROM user_progress p WHERE p.user_id = :user_id);
