-- One row per deleted learner: no other read model has rows of theirs, whatever arrives later.

-- table --
CREATE TABLE deleted_learners (
    user_id text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL                -- of the transaction that deleted the learner
);

-- Temporary tables are made like this one, see window_shape.
ALTER TABLE deleted_learners ALTER user_id SET STORAGE PLAIN;

-- as_of --
-- Stays empty: as-of answers fold nothing of a deleted learner.
CREATE TEMPORARY TABLE deleted_learners (LIKE deleted_learners INCLUDING STORAGE, PRIMARY KEY (user_id))
    ON COMMIT DELETE ROWS;
