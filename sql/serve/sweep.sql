-- What nobody woke on one machine: the sweep asks each second (progress/serve/sweep.py), as the batch job's login.

-- enter --
SELECT set_config('search_path', :path, false);

-- due --
-- The shards with events that this schema of read models lacks, and those with what is not published; the operations
-- that no worker runs; and the live schemas, as in projections/live.sql.
SELECT
    ARRAY(SELECT w.shard FROM find_waiting() w) AS behind,
    ARRAY(
        SELECT s.shard FROM (SELECT CAST(n AS smallint) FROM generate_series(0, 15) n) s (shard)
        WHERE {event_store/publication is due}
    ) AS unpublished,
    ARRAY(SELECT operations.list_unclaimed()) AS operations,
    l.schemas, l.read
FROM (
{projections/live live}
) l;
