-- The events and milestones that leave the system. progress/event_store/publication.py calls these functions.

-- Return the data of the message that publishes a recorded event: the event as JSON, without personal data. Of a
-- learner's own list, the data have nothing that the learner has written.
CREATE OR REPLACE FUNCTION event_store.published_event(e event_store.events) RETURNS text
LANGUAGE sql STABLE
RETURN json_build_object(
    'event_id', e.event_id,
    'event_type', e.event_type,
    'occurred_at', to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'data', CASE
        WHEN e.event_type IN ('ListPublished', 'ListArchived', 'ItemListed', 'ItemUnlisted')
            AND e.stream_id LIKE 'learner-%'
        THEN (SELECT jsonb_object_agg(f.key, f.value) FROM jsonb_each(e.event_data) f
              WHERE f.key IN ('user_id', 'list_id', 'item_id', 'position', 'rank'))
        ELSE e.event_data - '{email,display_name}'::text[] END,
    'metadata', (e.metadata - '{email,display_name}'::text[]) || jsonb_build_object(
        'global_position', e.global_position,
        'stream_version', e.stream_version,
        'recorded_at', to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
)::text;

-- Return whether the learner of a stream was deleted.
CREATE OR REPLACE FUNCTION event_store.is_deleted(stream text) RETURNS boolean
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM event_store.events e WHERE e.stream_id = stream AND e.event_type = 'UserDeleted' OFFSET 0);

-- Move the shard's checkpoint forward. A crash of the server may move it back, which repeats messages.
CREATE OR REPLACE FUNCTION event_store.move_publisher(of_shard smallint, to_position bigint, to_mark bigint)
RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET synchronous_commit = off
AS $$
BEGIN
    INSERT INTO event_store.publisher_checkpoints AS c (shard, position, mark) VALUES (of_shard, to_position, to_mark)
    ON CONFLICT (shard) DO UPDATE
    SET position = greatest(c.position, excluded.position), mark = greatest(c.mark, excluded.mark),
        answer = NULL, updated_at = clock_timestamp();
END $$;

-- Return whether the shard has messages to publish. If it has none, move the checkpoint past the events and marks that
-- the setting PUBLISH_EVENTS does not publish. The move needs no lock: whatever a publisher reads meanwhile is later.
CREATE OR REPLACE FUNCTION event_store.has_messages(of_shard smallint, setting text) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET random_page_cost = 0
SET jit = off
SET synchronous_commit = off
AS $$
DECLARE
    reached      event_store.publisher_checkpoints;
    newest_event bigint := (SELECT max(e.global_position) FROM event_store.events e WHERE e.shard = of_shard);
    newest_mark  bigint := (SELECT max(m.number) FROM event_store.milestone_marks m
                            WHERE m.shard = of_shard AND m.is_told);
BEGIN
    SELECT * INTO reached FROM event_store.publisher_checkpoints c WHERE c.shard = of_shard;
    reached.position := coalesce(reached.position, 0);
    reached.mark := coalesce(reached.mark, 0);
    IF setting <> 'off' AND newest_mark > reached.mark
        OR setting = 'all' AND newest_event > reached.position
        OR setting = 'milestones' AND EXISTS (
            SELECT FROM event_store.events e
            WHERE e.event_type = 'UserDeleted' AND e.global_position > reached.position AND e.shard = of_shard)
    THEN
        RETURN true;
    END IF;
    IF newest_event > reached.position OR newest_mark > reached.mark THEN
        PERFORM event_store.move_publisher(
            of_shard, coalesce(newest_event, 0), coalesce(newest_mark, 0));
    END IF;
    RETURN false;
END $$;

-- Return the shard's next messages, in the order of their commits: at most `at_most` events with about `max_bytes` of
-- data. `position` and `mark` are the checkpoint after each message, where it changes. A last row without a message
-- ends the window, unless the limit of bytes has cut it.
--
-- The milestones come only with the shard's last events, so that no milestone precedes the event that caused it. About
-- a deleted learner, only UserDeleted is published. Erased events are not published.
CREATE OR REPLACE FUNCTION event_store.next_messages(
    of_shard smallint, is_everything boolean, at_most integer, max_bytes bigint
) RETURNS TABLE (
    "position" bigint, mark bigint, kind text, event_type text, event_id uuid, stream_id text, committed_at timestamptz,
    data text
)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET random_page_cost = 0
SET jit = off
AS $$
DECLARE
    reached       event_store.publisher_checkpoints;
    -- Read the newest mark first. Its event is then among the events that the next statements see.
    newest_mark   bigint := (SELECT max(m.number) FROM event_store.milestone_marks m
                             WHERE m.shard = of_shard AND m.is_told);
    last_position bigint := (SELECT max(e.global_position) FROM event_store.events e WHERE e.shard = of_shard);
    positions     bigint[];
    is_cut        boolean;   -- a limit has left events to the next call
BEGIN
    SELECT * INTO reached FROM event_store.publisher_checkpoints c WHERE c.shard = of_shard;
    reached.position := coalesce(reached.position, 0);
    reached.mark := coalesce(reached.mark, 0);
    IF is_everything THEN
        -- The stored sizes, which are read without the contents, keep the server from encoding many large events.
        positions := ARRAY(
            SELECT s.global_position
            FROM (
                SELECT e.global_position, sum(e.size) OVER (ORDER BY e.global_position) - e.size AS bytes_before
                FROM (
                    SELECT e.global_position, pg_column_size(e.event_data) + pg_column_size(e.metadata) AS size
                    FROM event_store.events e
                    WHERE (e.shard, e.global_position) > (of_shard, reached.position)
                      AND (e.shard, e.global_position) <= (of_shard, last_position)
                    ORDER BY e.shard, e.global_position LIMIT at_most
                ) e
            ) s
            WHERE s.bytes_before < max_bytes
            ORDER BY s.global_position);
        is_cut := positions[cardinality(positions)] < last_position;
    ELSE
        positions := ARRAY(
            SELECT e.global_position FROM event_store.events e
            WHERE e.event_type = 'UserDeleted' AND e.global_position > reached.position
              AND e.global_position <= last_position AND e.shard = of_shard
            ORDER BY e.global_position LIMIT at_most);
        is_cut := cardinality(positions) = at_most;
    END IF;
    IF is_cut THEN
        last_position := positions[cardinality(positions)];
        newest_mark := reached.mark;
    END IF;

    RETURN QUERY
    WITH message AS MATERIALIZED (
        SELECT e.global_position, NULL::bigint AS number, 'recorded' AS kind, e.event_type, e.event_id, e.stream_id,
            e.created_at, event_store.published_event(e) AS data
        FROM event_store.events e
        WHERE e.global_position = ANY (positions) AND e.event_type <> 'Erased'
          AND (e.event_type = 'UserDeleted' OR NOT event_store.is_deleted(e.stream_id))
        UNION ALL
        SELECT NULL, m.number, 'milestone', 'MilestoneReached', NULL, 'learner-' || m.user_id, m.marked_at,
            json_build_object('user_id', m.user_id, 'kind', m.kind, 'value', m.value, 'level', m.level,
                'reached_on', m.reached_on)::text
        FROM event_store.milestone_marks m
        WHERE m.shard = of_shard AND m.is_told AND m.number > reached.mark AND m.number <= newest_mark
          AND NOT event_store.is_deleted('learner-' || m.user_id)
    ), sized AS (
        SELECT m.*, row_number() OVER in_order AS n,
            sum(octet_length(m.data)) OVER in_order - octet_length(m.data) AS bytes_before
        FROM message m
        WINDOW in_order AS (ORDER BY m.created_at, m.global_position, m.number)
    )
    SELECT s.global_position, s.number, s.kind, s.event_type, s.event_id, s.stream_id, s.created_at, s.data
    FROM (
        SELECT * FROM sized WHERE bytes_before < max_bytes
        UNION ALL
        SELECT last_position, newest_mark, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        WHERE NOT EXISTS (SELECT FROM sized WHERE bytes_before >= max_bytes)
    ) s
    ORDER BY s.n;
END $$;

-- Count the events and marks that the publisher has not read yet, and return when the oldest of them was committed.
CREATE OR REPLACE FUNCTION event_store.count_unpublished(OUT unpublished bigint, OUT oldest_at timestamptz)
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET random_page_cost = 0
SET jit = off
AS $$
SELECT CAST(coalesce(sum(waiting.events + waiting.marks), 0) AS bigint), min(waiting.oldest_at)
FROM generate_series(0, 15) s (shard)
LEFT JOIN event_store.publisher_checkpoints c ON c.shard = s.shard
CROSS JOIN LATERAL (
    SELECT
        (SELECT count(*) FROM event_store.events e
         WHERE (e.shard, e.global_position) > (s.shard, coalesce(c.position, 0))
           AND (e.shard, e.global_position) < (s.shard + 1, 0)) AS events,
        (SELECT count(*) FROM event_store.milestone_marks m
         WHERE m.shard = s.shard AND m.is_told AND m.number > coalesce(c.mark, 0)) AS marks,
        least(
            (SELECT e.created_at FROM event_store.events e
             WHERE (e.shard, e.global_position) > (s.shard, coalesce(c.position, 0))
               AND (e.shard, e.global_position) < (s.shard + 1, 0)
             ORDER BY e.shard, e.global_position LIMIT 1),
            (SELECT m.marked_at FROM event_store.milestone_marks m
             WHERE m.shard = s.shard AND m.is_told AND m.number > coalesce(c.mark, 0)
             ORDER BY m.number LIMIT 1)) AS oldest_at
) waiting
$$;
