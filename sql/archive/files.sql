-- The archive's Parquet files. progress/archive/files.py runs these blocks in DuckDB, whose parameters begin with $.

-- write --
-- Write the rows of a bucket's CSV files to a Parquet file. max_line_size is raised, because a row may be longer than
-- the default limit.
COPY (
    SELECT global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
        make_timestamptz(occurred_us) AS occurred_at, make_timestamptz(created_us) AS created_at, shard
    FROM read_csv($csv, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
        new_line = '\n', allow_quoted_nulls = false, max_line_size = 33554432, columns = {
            'bucket': 'SMALLINT', 'global_position': 'BIGINT', 'event_id': 'UUID', 'stream_id': 'VARCHAR',
            'stream_version': 'BIGINT', 'event_type': 'VARCHAR', 'event_data': 'VARCHAR', 'metadata': 'VARCHAR',
            'occurred_us': 'BIGINT', 'created_us': 'BIGINT', 'shard': 'SMALLINT'})
    ORDER BY stream_id, stream_version
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- sums --
-- For each file: the number of rows, the first and last position, and the sums defined in sql/archive/log.sql.
SELECT r.filename, count(*), min(r.global_position), max(r.global_position),
    coalesce(sum(CAST('0x' || substr(r.digest, 1, 8) AS BIGINT)), 0),
    coalesce(sum(CAST('0x' || substr(r.digest, 9, 8) AS BIGINT)), 0)
FROM (
    SELECT filename, global_position, md5(concat_ws(chr(31),
        global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
        epoch_us(occurred_at), epoch_us(created_at), shard)) AS digest
    FROM read_parquet($files, filename = true, hive_partitioning = false)
) r
GROUP BY r.filename;

-- sums of selection --
-- The number and the sums of the selected rows: the rows of one stream, and the rows at the given positions.
SELECT count(*),
    coalesce(sum(CAST('0x' || substr(r.digest, 1, 8) AS BIGINT)), 0),
    coalesce(sum(CAST('0x' || substr(r.digest, 9, 8) AS BIGINT)), 0)
FROM (
    SELECT md5(concat_ws(chr(31),
        global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
        epoch_us(occurred_at), epoch_us(created_at), shard)) AS digest
    FROM read_parquet($file, hive_partitioning = false)
    WHERE stream_id = $stream_id OR global_position IN (SELECT unnest(CAST($positions AS BIGINT[])))
) r;

-- positions of selection --
SELECT global_position FROM read_parquet($file, hive_partitioning = false)
WHERE stream_id = $stream_id OR global_position IN (SELECT unnest(CAST($positions AS BIGINT[])))
ORDER BY global_position;

-- write without selection --
-- The rows keep the order of the file, because a sort may need much temporary space.
COPY (
    SELECT * FROM read_parquet($file, hive_partitioning = false)
    WHERE NOT (stream_id = $stream_id OR global_position IN (SELECT unnest(CAST($positions AS BIGINT[]))))
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- slices --
-- The first and last stream of each slice. A slice holds neighbouring streams with about $rows rows in total; no stream
-- is divided between slices.
SELECT min(s.stream_id), max(s.stream_id)
FROM (
    SELECT n.stream_id, (sum(n.size) OVER (ORDER BY n.stream_id) - n.size) // CAST($rows AS BIGINT) AS slice
    FROM (
        SELECT stream_id, count(*) AS size FROM read_parquet($files, hive_partitioning = false) GROUP BY stream_id
    ) n
) s
GROUP BY s.slice
ORDER BY s.slice;

-- write slice --
COPY (
    SELECT * FROM read_parquet($files, hive_partitioning = false)
    WHERE stream_id BETWEEN $first AND $last
    ORDER BY stream_id, stream_version
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- join slices --
-- Write the rows of the slices' files to one file, in the order of $files.
COPY (
    SELECT * FROM read_parquet($files, hive_partitioning = false)
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- holds positions --
-- The number of the file's rows at the given positions.
SELECT count(*) FROM read_parquet($file, hive_partitioning = false)
WHERE global_position IN (SELECT unnest($positions));

-- rows by position --
COPY (
    SELECT * FROM read_parquet($files, hive_partitioning = false) ORDER BY global_position
) TO $csv (FORMAT csv, HEADER false);
