-- Return the shard of a stream, 0 to 15. Different shards are projected in parallel.
CREATE OR REPLACE FUNCTION event_store.shard_of(stream_id text) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (hashtextextended(stream_id COLLATE "C", 0) & 15)::smallint;

REVOKE EXECUTE ON FUNCTION event_store.shard_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.shard_of
    TO progress_project, progress_batch, progress_query, progress_erasure;
