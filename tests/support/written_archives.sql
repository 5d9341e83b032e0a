-- The Parquet files of archives that tests write. DuckDB runs these blocks.

-- read rows --
CREATE OR REPLACE TABLE rows AS
SELECT * FROM read_csv($csv, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"',
    new_line = '\n', allow_quoted_nulls = false, columns = {
        'bucket': 'SMALLINT', 'global_position': 'BIGINT', 'event_id': 'UUID', 'stream_id': 'VARCHAR',
        'stream_version': 'BIGINT', 'event_type': 'VARCHAR', 'event_data': 'VARCHAR', 'metadata': 'VARCHAR',
        'occurred_us': 'BIGINT', 'created_us': 'BIGINT', 'shard': 'SMALLINT'});

-- buckets --
SELECT bucket, count(*) FROM rows GROUP BY bucket;

-- write bucket --
COPY (
    SELECT * EXCLUDE (bucket, occurred_us, created_us),
        make_timestamptz(occurred_us) AS occurred_at, make_timestamptz(created_us) AS created_at
    FROM rows WHERE bucket = $bucket ORDER BY stream_id, stream_version
) TO $target (FORMAT parquet, COMPRESSION zstd);
