-- Write the dead letters of events that ingest rejected. If such an event is in the log with the same content (recorded
-- under older rules), the event is a redelivery, and a dead letter is not written.
CREATE OR REPLACE FUNCTION event_store.record_rejections(
    letters jsonb, messages jsonb, OUT outcomes jsonb, OUT shards smallint[]
)
LANGUAGE plpgsql AS $$
BEGIN
    WITH rejected AS MATERIALIZED (
        SELECT l.*, messages -> l.message AS source, stored.shard AS stored_in
        FROM jsonb_to_recordset(letters) AS l(n int, message int, index int, kind text,
            event_id text, event_type text, reason text, payload text, attributes jsonb,
            id uuid, stored_type text, occurred_at timestamptz, data jsonb, metadata jsonb,
            learner text, indexes jsonb, emptied_bytes integer, emptied_sha256 text)
        LEFT JOIN LATERAL (
            SELECT s.shard FROM event_store.events s
            WHERE s.event_id = l.id
              AND event_store.same_content(l.stored_type, l.data, l.occurred_at, l.metadata,
                    s.event_type, s.event_data, s.occurred_at, s.metadata)
              AND (l.learner IS NULL OR s.stream_id NOT LIKE 'learner-%'
                    OR s.stream_id = 'learner-' || l.learner)
            OFFSET 0
        ) stored ON true
    ), insert_letter AS (
        INSERT INTO event_store.dead_letters (kind, topic, subscription, message_id,
            index_in_message, event_id, event_type, reason, payload, attributes, indexes, published_at,
            emptied_bytes, emptied_sha256)
        SELECT r.kind, r.source ->> 'topic', r.source ->> 'subscription',
            r.source ->> 'message_id', r.index, r.event_id, r.event_type, r.reason, r.payload,
            r.attributes, r.indexes, (r.source ->> 'published_at')::timestamptz, r.emptied_bytes, r.emptied_sha256
        FROM rejected r WHERE r.stored_in IS NULL
        ORDER BY r.n
        ON CONFLICT DO NOTHING
    )
    SELECT jsonb_object_agg(counted.outcome, counted.count),
        ARRAY(SELECT DISTINCT r.stored_in FROM rejected r WHERE r.stored_in IS NOT NULL)
    INTO outcomes, shards
    FROM (SELECT CASE WHEN r.stored_in IS NULL THEN r.kind ELSE 'redelivered' END AS outcome, count(*)
          FROM rejected r GROUP BY 1) counted;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_rejections FROM PUBLIC;
