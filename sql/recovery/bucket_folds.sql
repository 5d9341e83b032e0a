-- A rebuild from the archive runs the definitions in DuckDB. These blocks prepare the inputs of the folds and write
-- their outputs. DuckDB's parameters begin with $.

-- log files --
SET VARIABLE log_files = $files;

-- log --
-- The events in the archive's files. The definitions (sql/projections/definitions.sql) read this view.
CREATE TEMPORARY VIEW log AS
SELECT * FROM read_parquet(getvariable('log_files'), hive_partitioning = false);

-- no log --
-- An empty table `log`, used if the archive has no files for this fold.
CREATE TEMPORARY TABLE log (
    global_position BIGINT, event_id UUID, stream_id VARCHAR, event_type VARCHAR, event_data VARCHAR,
    metadata VARCHAR, occurred_at TIMESTAMPTZ, created_at TIMESTAMPTZ
);

-- poisoned --
CREATE TEMPORARY TABLE poisoned_events AS SELECT unnest(CAST($positions AS BIGINT[])) AS global_position;

-- rebuild --
-- The version of the rows that this rebuild loads. The block `loaded` of some read models reads this table.
CREATE TEMPORARY TABLE rebuild AS SELECT CAST($version AS BIGINT) AS version;

-- write shared --
COPY {table} TO $file (FORMAT parquet, COMPRESSION zstd);

-- read shared --
CREATE TEMPORARY TABLE {table} AS SELECT * FROM read_parquet($file, hive_partitioning = false);

-- loaded --
SELECT * FROM {table}

-- write csv --
COPY (
{query}
) TO $file (FORMAT csv, HEADER true);
