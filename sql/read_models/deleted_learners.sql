-- One row per deleted learner. No other read model has rows of a deleted learner, even if events of the learner arrive
-- later.

-- table --
CREATE TABLE deleted_learners (
    user_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL                -- the transaction that deleted the learner
);

-- definition --
SELECT DISTINCT user_id
FROM facts
WHERE kind = 'deletion'

-- loaded --
-- The relation `rebuild` is in sql/recovery/bucket_folds.sql.
SELECT d.user_id, r.version
FROM deleted_learners d
CROSS JOIN rebuild r

-- as_of --
-- The learner, if deleted: a deletion holds for every time, whenever it occurred or was recorded.
SELECT substr(e.stream_id, 9) AS user_id
FROM event_store.events e
WHERE e.stream_id = 'learner-' || CAST(:user_id AS text) AND e.event_type IN ({deletion_types})
  AND e.global_position <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))
LIMIT 1
