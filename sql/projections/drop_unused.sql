-- Read models that are served no more.

-- unused_schemas --
-- Schemas of read models but the one that is kept, with those that rebuilds made or put aside: nobody rebuilds now.
SELECT nspname
FROM pg_namespace
WHERE nspname ~ '^progress_[0-9a-f]{12}(_building|_retired)?$' AND nspname <> :kept
ORDER BY nspname;
