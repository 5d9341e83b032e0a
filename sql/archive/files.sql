-- The archive's Parquet files. progress/archive/files.py runs these blocks in DuckDB, whose parameters begin with $.

-- csv rows --
-- The rows of CSV files. max_line_size is raised, because a row may be longer than the default limit.
SELECT global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
    make_timestamptz(occurred_us) AS occurred_at, make_timestamptz(created_us) AS created_at, shard
FROM read_csv($csv, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
    new_line = '\n', allow_quoted_nulls = false, max_line_size = 33554432, columns = {
        'bucket': 'SMALLINT', 'global_position': 'BIGINT', 'event_id': 'UUID', 'stream_id': 'VARCHAR',
        'stream_version': 'BIGINT', 'event_type': 'VARCHAR', 'event_data': 'VARCHAR', 'metadata': 'VARCHAR',
        'occurred_us': 'BIGINT', 'created_us': 'BIGINT', 'shard': 'SMALLINT'})

-- write --
COPY (
    {archive/files csv rows}
    ORDER BY stream_id, stream_version
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- digests --
-- The rows of the files, and the hash that sql/archive/log.sql defines.
SELECT filename, global_position, stream_id, event_type, md5(concat_ws(chr(31),
    global_position, CASE WHEN event_type <> 'Erased' THEN event_id END, stream_id,
    CASE WHEN event_type <> 'Erased' THEN stream_version END, event_type, event_data, metadata,
    epoch_us(occurred_at), epoch_us(created_at), shard)) AS digest
FROM read_parquet($files, filename = true, hive_partitioning = false)

-- sums --
-- For each file, its rows and its erased rows: their number and the sums that sql/archive/log.sql defines.
SELECT r.filename, r.event_type = 'Erased', count(*),
    sum(CAST('0x' || substr(r.digest, 1, 8) AS BIGINT)), sum(CAST('0x' || substr(r.digest, 9, 8) AS BIGINT))
FROM ({archive/files digests}) r
GROUP BY ALL;

-- selected --
-- The condition for rows of one stream, and for rows at the given positions, if they are not erased yet.
event_type <> 'Erased'
    AND (stream_id = $stream_id OR global_position IN (SELECT unnest(CAST($positions AS BIGINT[]))))

-- selection --
-- The position and the two parts of the hash of each selected row.
SELECT r.global_position, CAST('0x' || substr(r.digest, 1, 8) AS BIGINT), CAST('0x' || substr(r.digest, 9, 8) AS BIGINT)
FROM ({archive/files digests}) r
WHERE {archive/files selected}
ORDER BY r.global_position;

-- replace --
-- Write the rows of the CSV file and those that are not selected. The latter keep their order, because a sort may need
-- much temporary space.
COPY (
    {archive/files csv rows}
    UNION ALL
    SELECT * FROM read_parquet($files, hive_partitioning = false) WHERE NOT ({archive/files selected})
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- join --
-- Write the rows of the files to one file, in the order of $files.
COPY (
    SELECT * FROM read_parquet($files, hive_partitioning = false)
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- rows by position --
COPY (
    SELECT * FROM read_parquet($files, hive_partitioning = false)
    WHERE (event_type = 'Erased') = $erased ORDER BY global_position
) TO $csv (FORMAT csv, HEADER false);
