-- Append pending events to the stream of their learner, in the order of their arrival.
CREATE OR REPLACE FUNCTION event_store.release_pending(stream text, ids uuid[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    WITH removed AS (
        DELETE FROM event_store.pending p WHERE p.event_id = ANY (ids) RETURNING p.*
    )
    INSERT INTO event_store.events
    SELECT head.position + r.nth, r.event_id, release_pending.stream, latest.version + r.nth,
        r.event_type, r.event_data, r.metadata, r.occurred_at, head.created_at,
        event_store.shard_of(release_pending.stream)
    FROM (SELECT d.*, row_number() OVER (ORDER BY d.arrival) AS nth FROM removed d) r
    CROSS JOIN (
        SELECT coalesce(max(h.global_position), 0) AS position,
            greatest(clock_timestamp(), max(h.created_at)) AS created_at
        FROM (SELECT e.global_position, e.created_at FROM event_store.events e
              ORDER BY e.global_position DESC LIMIT 1) h
    ) head
    CROSS JOIN (
        SELECT coalesce(max(v.stream_version), 0) AS version
        FROM (SELECT e.stream_version FROM event_store.events e WHERE e.stream_id = release_pending.stream
              ORDER BY e.stream_version DESC LIMIT 1) v
    ) latest;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.release_pending FROM PUBLIC;
