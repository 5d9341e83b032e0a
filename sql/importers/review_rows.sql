-- A review log in Parquet. progress/importers/review_rows.py runs this block in DuckDB.

-- parquet --
-- The columns as text, '' for null.
SELECT coalesce(CAST(COLUMNS(*) AS VARCHAR), '') AS '\0'
FROM read_parquet($file, binary_as_string = true);
