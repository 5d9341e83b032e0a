-- Schemas of read models that no deployed code uses.

-- unused_schemas --
-- All schemas of read models except the kept schema. Schemas named _building were left by killed rebuilds, because the
-- caller holds the lock of rebuilds.
SELECT nspname
FROM pg_namespace
WHERE nspname ~ '^progress_[0-9a-f]{12}(_building|_retired)?$' AND nspname <> :kept
ORDER BY nspname;
