-- Whole folds in DuckDB, and in PostgreSQL the rows that DuckDB computed.

-- read log --
-- The CSV file of sql/archive/log.sql as the relation `log`. DuckDB runs this block.
CREATE TEMPORARY TABLE log AS
SELECT global_position, event_id, stream_id, event_type, event_data,
    make_timestamptz(occurred_us) AS occurred_at, make_timestamptz(created_us) AS created_at
FROM read_csv($csv, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"', new_line = '\n',
    allow_quoted_nulls = false, columns = {
        'bucket': 'SMALLINT', 'global_position': 'BIGINT', 'event_id': 'UUID', 'stream_id': 'VARCHAR',
        'stream_version': 'BIGINT', 'event_type': 'VARCHAR', 'event_data': 'VARCHAR', 'metadata': 'VARCHAR',
        'occurred_us': 'BIGINT', 'created_us': 'BIGINT', 'shard': 'SMALLINT'});

-- set aside --
-- DuckDB runs this block.
CREATE TEMPORARY TABLE set_aside AS SELECT unnest(CAST($positions AS BIGINT[])) AS global_position;

-- poisoned --
SELECT global_position FROM event_store.poisoned;

-- write table --
-- DuckDB runs this block.
COPY {table} TO $csv (FORMAT csv, HEADER false);

-- empty table --
TRUNCATE pg_temp.{table};

-- read table --
COPY pg_temp.{table} FROM STDIN WITH (FORMAT csv);
