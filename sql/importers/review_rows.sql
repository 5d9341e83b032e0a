-- A review log in Parquet. progress/importers/review_rows.py runs these blocks in DuckDB.

-- arrow --
-- The types that Apache Arrow gave the columns; Parquet itself has none for durations.
SELECT value FROM parquet_kv_metadata($file) WHERE key = 'ARROW:schema'::BLOB;

-- parquet --
-- The columns as text, '' for null; an interval of DuckDB's in milliseconds.
SELECT coalesce(CASE typeof(COLUMNS(*)) WHEN 'INTERVAL'
    THEN CAST(CAST(epoch(TRY_CAST(CAST(COLUMNS(*) AS VARCHAR) AS INTERVAL)) * 1000 AS BIGINT) AS VARCHAR)
    ELSE CAST(COLUMNS(*) AS VARCHAR) END, '') AS '\0'
FROM read_parquet($file, binary_as_string = true);
