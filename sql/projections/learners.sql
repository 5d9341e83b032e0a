-- The learners, as `progress learners` lists them, and how far one of them is folded.

-- find --
-- The learners whose id contains the text :part, in any case; ordered by id.
SELECT user_id, answers, sessions_completed, items_learned, last_updated
FROM user_progress
WHERE strpos(event_store.fold_case(user_id), (SELECT event_store.fold_case(CAST(:part AS text)))) > 0
ORDER BY user_id
LIMIT :limit;

-- shard of learner --
-- The learner's shard, and the position of the learner's newest event; 0 if the learner has no events.
SELECT event_store.shard_of('learner-' || CAST(:learner AS text)), coalesce((
    SELECT e.global_position FROM event_store.events e WHERE e.stream_id = 'learner-' || CAST(:learner AS text)
    ORDER BY e.stream_version DESC LIMIT 1), 0);

-- is folded --
SELECT c.position >= :position FROM checkpoints c WHERE c.shard = :shard;
