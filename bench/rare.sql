-- The SQL statements of `bench/rare.py`.

-- neighbours --
-- Two learners of one shard, each with at least :events events.
SELECT min(user_id), max(user_id)
FROM (
    SELECT substr(stream_id, 9) AS user_id, shard
    FROM event_store.events
    WHERE stream_version = :events AND stream_id LIKE 'learner-%'
) l
GROUP BY shard
HAVING count(*) > 1
LIMIT 1;

-- shard --
SELECT event_store.shard_of('learner-' || CAST(:learner AS text));

-- head --
SELECT max(global_position) FROM event_store.events;

-- checkpoint --
SELECT position FROM checkpoints WHERE shard = :shard;
