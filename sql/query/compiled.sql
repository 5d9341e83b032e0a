-- The statements of compiled fields (progress/query/execution/compiled.py). {query} is a block of a read
-- model, and {columns} are the requested columns of this block. The block `clamped` reduces a column to GraphQL's
-- largest Int and keeps nulls; least() would turn a null into that Int.

-- select_columns --
SELECT {columns}
FROM (
{query}
) AS answer;

-- select_columns_and_version --
-- The requested columns, then the learner's version in the same snapshot. The version is null if the learner is unknown
-- or deleted, because the cache holds nothing about such a learner.
SELECT {columns},
    (SELECT version FROM user_progress WHERE user_id = :user_id)
FROM (
{query}
) AS answer;

-- clamped --
CASE WHEN "{column}" > 2147483647 THEN 2147483647 ELSE "{column}" END

-- fetch_version --
-- The learner's version alone.
SELECT max(version) AS version FROM user_progress WHERE user_id = :user_id;
