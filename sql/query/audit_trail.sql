-- The audit trail for support staff: events as they were recorded.

-- list_events --
-- The events of a learner's stream before a given version, newest first.
SELECT
    event_id,
    stream_id,
    stream_version,
    CAST(global_position AS text)    AS global_position,
    event_type,
    CAST(event_data AS text)         AS data,
    metadata ->> 'correlation_id'    AS correlation_id,
    metadata ->> 'causation_id'      AS causation_id,
    occurred_at,
    created_at                       AS recorded_at
FROM events
WHERE stream_id = 'learner-' || CAST(:user_id AS text)
  AND stream_version < coalesce(CAST(:before AS bigint), 9223372036854775807)
  AND (CAST(:types AS text[]) IS NULL OR event_type = ANY (:types))
ORDER BY stream_version DESC
LIMIT CAST(:first AS bigint);
