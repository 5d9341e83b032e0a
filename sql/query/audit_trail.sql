-- The audit trail for support staff: events as they were recorded.

-- list_events --
-- The events of a learner's stream before a given version, newest first: a RecordedEvent as JSON in each row.
SELECT {query/audit_trail as_json}
FROM events e
WHERE stream_id = 'learner-' || CAST(:user_id AS text)
  AND stream_version < coalesce(CAST(:before AS bigint), 9223372036854775807)
  AND (CAST(:types AS text[]) IS NULL OR event_type = ANY (:types))
ORDER BY stream_version DESC
LIMIT CAST(:first AS bigint);

-- event --
-- The recorded event with this id, whosesoever.
SELECT {query/audit_trail as_json}
FROM events e
WHERE e.event_id = event_store.event_uuid(:event_id)
  AND (CAST(:types AS text[]) IS NULL OR e.event_type = ANY (:types));

-- as_json --
json_build_object(
    'event_id', event_id,
    'stream_id', stream_id,
    'stream_version', stream_version,
    'global_position', CAST(global_position AS text),
    'event_type', event_type,
    'retracted', is_retractable(e.event_type) AND {read_models/facts is_named},
    'data', CAST(event_data AS text),
    'correlation_id', metadata ->> 'correlation_id',
    'causation_id', metadata ->> 'causation_id',
    'posted_by', metadata ->> 'posted_by',
    'source_id', metadata ->> 'source_id',
    'occurred_at', occurred_at,
    'recorded_at', created_at)

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
