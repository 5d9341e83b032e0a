-- A review log in Parquet. progress/importers/review_rows.py runs these blocks in DuckDB.

-- arrow --
-- The types that Apache Arrow gave the columns; Parquet itself has none for durations.
SELECT value FROM parquet_kv_metadata($file) WHERE key = 'ARROW:schema'::BLOB;

-- parquet --
-- The columns as text, '' for null.
SELECT coalesce(CAST(COLUMNS(*) AS VARCHAR), '') AS '\0'
FROM read_parquet($file, binary_as_string = true);
