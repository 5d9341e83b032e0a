-- A review log in Parquet. progress/importers/review_rows.py runs these blocks in DuckDB.

-- arrow --
-- The types that Apache Arrow gave the columns; Parquet itself has none for durations.
SELECT value FROM parquet_kv_metadata($file) WHERE key = 'ARROW:schema'::BLOB;

-- parquet --
-- The columns $names as text, '' for null; an interval of DuckDB's in milliseconds. A long text is cut, so that the
-- memory does not grow with it; one of over $most characters is $fault.
SELECT coalesce(CASE typeof(COLUMNS($names)) WHEN 'INTERVAL'
    THEN CAST(CAST(epoch(TRY_CAST(CAST(COLUMNS($names) AS VARCHAR) AS INTERVAL)) * 1000 AS BIGINT) AS VARCHAR)
    WHEN 'VARCHAR' THEN CASE
        WHEN strlen(CAST(COLUMNS($names) AS VARCHAR)) > 4 * $most OR length(CAST(COLUMNS($names) AS VARCHAR)) > $most
        THEN $fault ELSE left(CAST(COLUMNS($names) AS VARCHAR), $longest) END
    ELSE CAST(COLUMNS($names) AS VARCHAR) END, '') AS '\0'
FROM read_parquet($file, binary_as_string = true);
