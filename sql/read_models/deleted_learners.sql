-- One row per deleted learner. No other read model has rows of a deleted learner, even if events of the learner arrive
-- later.

-- table --
CREATE TABLE deleted_learners (
    user_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL                -- the transaction that deleted the learner
);

-- The temporary tables copy this storage mode, which avoids TOAST tables (see window_shape in facts.sql).
ALTER TABLE deleted_learners ALTER user_id SET STORAGE PLAIN;

-- as_of --
-- Stays empty, because as-of queries do not fold events of a deleted learner.
CREATE TEMPORARY TABLE deleted_learners (LIKE deleted_learners INCLUDING STORAGE, PRIMARY KEY (user_id))
    ON COMMIT DELETE ROWS;

-- definition --
SELECT DISTINCT user_id
FROM facts
WHERE kind = 'deletion'

-- loaded --
-- The relation `rebuild` is in sql/recovery/bucket_folds.sql.
SELECT d.user_id, r.version
FROM deleted_learners d
CROSS JOIN rebuild r
