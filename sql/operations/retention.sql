-- The data that the batch job deletes, and the learners that it erases, after a retention period.

-- delete closed letters --
-- Delete dead letters that were replayed, discarded or erased more than 90 days ago. They served to recognize
-- redelivered messages, but after 90 days, Pub/Sub does not redeliver a message any more.
DELETE FROM event_store.dead_letters
WHERE letter_id IN (
    SELECT letter_id
    FROM event_store.dead_letters
    WHERE coalesce(replayed_at, discarded_at) < clock_timestamp() - interval '90 days'
    ORDER BY coalesce(replayed_at, discarded_at)
    LIMIT CAST(:limit AS bigint));

-- delete finished operations --
SELECT operations.delete_finished();

-- learners to erase --
-- The learners whose deletion was recorded more than :days days ago and whose erasure was never started, in the order
-- of their deletions. The second column is the digest of the learner's id.
SELECT d.user_id, encode(event_store.erasure_digest(d.user_id), 'hex')
FROM deleted_learners d
CROSS JOIN LATERAL (
    SELECT e.created_at
    FROM event_store.events e
    WHERE e.stream_id = 'learner-' || d.user_id AND e.event_type = 'UserDeleted'
    ORDER BY e.stream_version DESC  -- fast, because a deletion is one of the learner's newest events
    LIMIT 1
) e
WHERE e.created_at < clock_timestamp() - make_interval(days => CAST(:days AS integer))
  AND NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.erasure_digest(d.user_id))
  AND NOT EXISTS (SELECT FROM operations.operations o WHERE o.kind = 'ERASE_USER' AND o.subject = d.user_id)
ORDER BY e.created_at, d.user_id
LIMIT CAST(:limit AS bigint);
