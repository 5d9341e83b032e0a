-- The inputs and outputs of whole folds in DuckDB.

-- log --
CREATE TEMPORARY VIEW log AS SELECT * FROM read_parquet('{file}', hive_partitioning = false);
CREATE TEMPORARY TABLE set_aside (global_position BIGINT);

-- write --
COPY {table} TO $csv (FORMAT csv, HEADER true);
