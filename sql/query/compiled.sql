-- The statements of the compiled path (progress/query/execution/compiled.py). {query} is a block of a read
-- model, and {columns} are the requested columns of this block.

-- select_columns --
SELECT {columns}
FROM (
{query}
) AS answer;

-- select_columns_and_version --
-- The columns and, as the last column, the learner's version in the same snapshot.
SELECT {columns},
    coalesce(
        (SELECT version FROM user_progress WHERE user_id = :user_id),
        (SELECT version FROM deleted_learners WHERE user_id = :user_id),
        0)
FROM (
{query}
) AS answer;

-- fetch_version --
-- The learner's version alone.
SELECT coalesce(max(version), 0) AS version FROM learner_versions WHERE user_id = :user_id;
