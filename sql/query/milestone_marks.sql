-- The milestones that were told to learners, for the subscription `milestoneReached`. Marks of deleted learners are
-- left out.

-- newest --
-- The number of each learner's newest mark; 0 without marks.
SELECT a.user_id, coalesce((
    SELECT max(m.number)
    FROM event_store.milestone_marks m
    WHERE m.user_id = a.user_id AND m.is_told
      AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = a.user_id)), 0) AS number
FROM unnest(CAST(:learners AS text[])) AS a (user_id);

-- following --
-- The learner's next marks after a number, in their order.
SELECT m.number, m.kind, m.value, m.level, m.reached_on
FROM event_store.milestone_marks m
WHERE m.user_id = :user_id AND m.is_told AND m.number > :number
  AND NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = m.user_id)
ORDER BY m.number
LIMIT :limit;
