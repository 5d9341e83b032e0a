-- What the query API asks of a read model's question.

-- narrowed --
-- Some of its columns.
SELECT {columns}
FROM (
{question}
) AS answer;
