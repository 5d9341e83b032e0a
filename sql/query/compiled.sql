-- The statements of compiled fields (progress/query/execution/compiled.py). {query} is a block of a read
-- model, and {columns} are the requested columns of this block. The block `clamped` reduces a column to GraphQL's
-- largest Int and keeps nulls; least() would turn a null into that Int.

-- select_columns --
SELECT {columns}
FROM (
{query}
) AS answer;

-- clamped --
CASE WHEN "{column}" > 2147483647 THEN 2147483647 ELSE "{column}" END
