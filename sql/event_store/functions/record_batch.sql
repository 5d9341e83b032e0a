-- Record a whole batch in one statement: the optimistic path. This statement cannot decide the outcome of some events,
-- but record_event can. If the batch contains such an event, the statement writes nothing and sets `needs_row_by_row`.
-- Then record_row_by_row records the batch.
--
-- Both paths give the same rows and outcomes, because:
-- * this path decides only 'appended', 'pending' and 'redelivered'. record_row_by_row is needed for an event that is
--   pending already, has the id of an event with other content, has an id that occurs twice in the batch, has a time in
--   the future, or starts a session of another learner;
-- * both compare content with same_content, and both take the learner from the event or, if the event names no learner,
--   from the event's session;
-- * both use the order of batch_order, with one exception. A session's first SessionStarted is followed by the
--   session's pending events, in order of arrival. After these come the session's events that preceded the
--   SessionStarted in the batch.
-- tests/event_store/test_append.py compares both with one sequential program.
--
-- The CTEs that write do not see each other's rows, because all CTEs read the same snapshot. The data and metadata of
-- the events are joined at the end, because carrying them through the sorts would make the statement 3 % slower.
CREATE OR REPLACE FUNCTION event_store.record_batch(
    events jsonb, OUT needs_row_by_row boolean, OUT outcomes jsonb, OUT shards smallint[]
)
LANGUAGE plpgsql AS $$
BEGIN
    WITH incoming AS MATERIALIZED (
        SELECT * FROM jsonb_populate_recordset(NULL::event_store.incoming_event, record_batch.events)
    ), first_start AS MATERIALIZED (   -- the first SessionStarted of each session in this batch
        SELECT DISTINCT ON (i.session_id) i.session_id, i.learner, event_store.batch_order(i.message, i.index) AS n
        FROM incoming i
        WHERE i.event_type = 'SessionStarted'
        ORDER BY i.session_id, n
    ), decided AS MATERIALIZED (
        SELECT event_store.batch_order(i.message, i.index) AS n, i.event_id,
            coalesce('learner-' || coalesce(i.learner, known.user_id, first_start.learner),
                     i.stream_id) AS stream,
            -- If the learner is unknown, the event moves behind the first SessionStarted in the batch that starts the
            -- same session.
            CASE WHEN coalesce(i.learner, known.user_id) IS NULL
                 THEN greatest(event_store.batch_order(i.message, i.index), first_start.n)
                 ELSE event_store.batch_order(i.message, i.index) END AS turn,
            stored.shard AS stored_in,
            waiting.event_id IS NOT NULL
            OR CASE WHEN stored.event_id IS NOT NULL THEN NOT (
                event_store.same_content(i.event_type, i.data, i.occurred_at, i.metadata,
                    stored.event_type, stored.event_data, stored.occurred_at, stored.metadata)
                AND coalesce(stored.stream_id NOT LIKE 'learner-%'
                    OR stored.stream_id = 'learner-' || coalesce(i.learner, known.user_id,
                        CASE WHEN first_start.n < event_store.batch_order(i.message, i.index)
                             THEN first_start.learner END), true)
            ) ELSE false END
            OR i.occurred_at > clock_timestamp() + interval '10 minutes'
            OR i.event_type = 'SessionStarted'
                AND coalesce(known.user_id, first_start.learner) <> i.learner AS needs_row_by_row
        FROM incoming i
        -- OFFSET 0 makes the plan look up each event by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT * FROM event_store.events s WHERE s.event_id = i.event_id OFFSET 0
        ) stored ON true
        LEFT JOIN LATERAL (
            SELECT p.event_id FROM event_store.pending p
            WHERE p.event_id = i.event_id AND (SELECT EXISTS (SELECT FROM event_store.pending))
            OFFSET 0
        ) waiting ON true
        LEFT JOIN LATERAL (
            SELECT s.user_id FROM event_store.sessions s
            WHERE s.session_id = i.session_id
              AND (i.learner IS NULL OR i.event_type = 'SessionStarted')
            OFFSET 0
        ) known ON true
        LEFT JOIN first_start ON first_start.session_id = i.session_id
            -- An event with a stream of its own (other-…, item-…) does not move behind a later SessionStarted.
            AND (first_start.n <= event_store.batch_order(i.message, i.index) OR i.stream_id IS NULL)
    ), verdict AS MATERIALIZED (
        SELECT bool_or(d.needs_row_by_row)
            OR count(DISTINCT d.event_id) < count(*) AS needs_row_by_row
        FROM decided d
    ), new_event AS NOT MATERIALIZED ( -- empty if the batch needs record_row_by_row
        SELECT * FROM decided d
        WHERE d.stored_in IS NULL AND NOT (SELECT v.needs_row_by_row FROM verdict v)
    ), new_session AS MATERIALIZED (
        SELECT f.session_id, f.learner, f.n, e.stream FROM first_start f JOIN new_event e ON e.n = f.n
    ), insert_session AS (
        INSERT INTO event_store.sessions
        SELECT s.session_id, s.learner FROM new_session s
        ORDER BY s.session_id
        ON CONFLICT DO NOTHING
    ), delete_pending AS (
        DELETE FROM event_store.pending p
        WHERE p.session_id = ANY (ARRAY(SELECT s.session_id FROM new_session s))
        RETURNING p.*
    ), release_pending AS (
        SELECT p.*, s.n, s.stream FROM delete_pending p JOIN new_session s ON s.session_id = p.session_id
    ), insert_pending AS (
        INSERT INTO event_store.pending
            (event_id, session_id, event_type, event_data, metadata, occurred_at)
        SELECT i.event_id, i.session_id, i.event_type, i.data, i.metadata, i.occurred_at
        FROM new_event e JOIN incoming i ON i.event_id = e.event_id
        WHERE e.stream IS NULL
        ORDER BY e.n
        RETURNING 1
    ), sequence AS (                   -- order: SessionStarted, then pending events, then earlier events of the batch
        SELECT e.turn, CASE WHEN e.n = e.turn THEN 0 ELSE 2 END AS rank, e.n AS nth, e.stream, e.event_id
        FROM new_event e WHERE e.stream IS NOT NULL
        UNION ALL
        SELECT r.n, 1, r.arrival, r.stream, r.event_id
        FROM release_pending r
    ), numbered AS MATERIALIZED (
        SELECT s.*,
            row_number() OVER (PARTITION BY s.stream ORDER BY s.turn, s.rank, s.nth) AS in_stream,
            row_number() OVER (ORDER BY s.turn, s.rank, s.nth) AS in_batch
        FROM sequence s
    ), streams AS MATERIALIZED (
        SELECT d.stream, coalesce(latest.stream_version, 0) AS version,
            event_store.shard_of(d.stream) AS shard
        FROM (SELECT DISTINCT n.stream FROM numbered n) d
        LEFT JOIN LATERAL (
            SELECT e.stream_version FROM event_store.events e
            WHERE e.stream_id = d.stream ORDER BY e.stream_version DESC LIMIT 1
        ) latest ON true
    ), head AS MATERIALIZED (
        SELECT coalesce(max(h.global_position), 0) AS position,
            greatest(clock_timestamp(), max(h.created_at)) AS created_at
        FROM (SELECT e.global_position, e.created_at FROM event_store.events e
              ORDER BY e.global_position DESC LIMIT 1) h
    ), append_row AS (
        INSERT INTO event_store.events
        SELECT head.position + n.in_batch, n.event_id, n.stream, streams.version + n.in_stream,
            e.event_type, e.data, e.metadata, e.occurred_at, head.created_at, streams.shard
        FROM numbered n
        JOIN (
            SELECT i.event_id, i.event_type, i.data, i.metadata, i.occurred_at FROM incoming i
            UNION ALL
            SELECT r.event_id, r.event_type, r.event_data, r.metadata, r.occurred_at FROM release_pending r
        ) e ON e.event_id = n.event_id
        JOIN streams ON streams.stream = n.stream
        CROSS JOIN head
    )
    SELECT v.needs_row_by_row,
        jsonb_build_object('appended', (SELECT count(*) FROM numbered),
            'pending', (SELECT count(*) FROM insert_pending),
            'redelivered', (SELECT count(*) FROM decided d WHERE d.stored_in IS NOT NULL)),
        ARRAY(SELECT s.shard FROM streams s
              UNION SELECT d.stored_in FROM decided d WHERE d.stored_in IS NOT NULL)
    INTO needs_row_by_row, outcomes, shards
    FROM verdict v;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_batch FROM PUBLIC;
