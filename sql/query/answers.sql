-- What the query API asks of a read model's question.

-- narrowed --
-- Some of its columns.
SELECT {columns}
FROM (
{question}
) AS answer;

-- versioned --
-- The same, and last the version of the learner whose answer it is.
SELECT {columns},
    coalesce(
        (SELECT version FROM user_progress WHERE user_id = :user_id),
        (SELECT version FROM deleted_learners WHERE user_id = :user_id),
        0)
FROM (
{question}
) AS answer;

-- version --
-- That version alone.
SELECT coalesce(max(version), 0) AS version FROM learner_versions WHERE user_id = :user_id;
