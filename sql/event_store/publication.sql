-- The statements of progress/event_store/publication.py.

-- has messages --
SELECT event_store.has_messages(CAST(:shard AS smallint), :setting);

-- has unpublished --
SELECT unpublished > 0 FROM event_store.count_unpublished();

-- lock --
SELECT pg_try_advisory_lock(hashtext('event_store.publisher'), :shard);

-- unlock --
SELECT pg_advisory_unlock(hashtext('event_store.publisher'), :shard);

-- next messages --
SELECT position, mark, kind, event_type, event_id, stream_id, committed_at, data
FROM event_store.next_messages(CAST(:shard AS smallint), :is_everything, :at_most, :max_bytes);

-- move --
SELECT event_store.move_publisher(CAST(:shard AS smallint), :position, :mark);
