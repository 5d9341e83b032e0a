-- Return the stream that holds a shard's emptied events: the first of erased-1, erased-2 … that belongs to the shard.
CREATE OR REPLACE FUNCTION event_store.erased_stream(shard smallint) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n integer := 1;
BEGIN
    WHILE event_store.shard_of('erased-' || n) <> shard LOOP
        n := n + 1;
    END LOOP;
    RETURN 'erased-' || n;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.erased_stream FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.erased_stream TO progress_erasure;
