-- Schemas of read models that no deployed code uses.

-- unused_schemas --
-- All schemas of read models except the kept schema. No rebuild is running, because the caller holds the lock of
-- rebuilds. A schema whose name ends in _building was therefore left by a killed rebuild.
SELECT nspname
FROM pg_namespace
WHERE nspname ~ '^progress_[0-9a-f]{12}(_building|_retired)?$' AND nspname <> :kept
ORDER BY nspname;
