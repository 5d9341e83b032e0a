-- The one right of the query function's role to record what teachers do: set a task, assign a list, take it back.
-- append_tasks makes the ids and the events itself: nothing that it is given is recorded as an event, and the caller's
-- id nowhere. Whether the caller may do it, and whether the group, the list and the items exist, is asked before.
--
-- A call is known by (caller, mutation, key), from which the ids of its events follow by the database's key. Repeated,
-- it records nothing. Errors: 42501 for a call of another form, PR003 for the key of another call, PR004 for a list to
-- assign that is a learner's own or an archived task's. See tests/event_store/test_append_tasks.py.

-- Return the HMAC-SHA-256 of a call or of one of its events, in the form of a UUID.
CREATE OR REPLACE FUNCTION event_store.call_uuid(key event_store.erasure_key, call jsonb) RETURNS uuid
LANGUAGE sql IMMUTABLE
RETURN encode(substr(event_store.keyed_digest(key, call::text), 1, 16), 'hex')::uuid;

-- Return the events of a call, in their order. A list that is taken back is archived, too; not every call records that.
CREATE OR REPLACE FUNCTION event_store.task_events(
    caller text, mutation text, key text, group_id text, list_id text, name text, item_ids text[], due_on date
) RETURNS TABLE (index integer, event_id uuid, event_type text, stream_id text, data jsonb)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT e.index, event_store.call_uuid(k, jsonb_build_array(caller, mutation, key, e.index)), e.event_type,
        e.stream_id, jsonb_strip_nulls(e.data || jsonb_build_object('list_id', list_id))
    FROM event_store.erasure_key k, (
        SELECT 0 AS index, 'ListPublished' AS event_type, 'list-' || list_id AS stream_id,
            jsonb_build_object('name', name) AS data
        WHERE mutation = 'setTask'
        UNION ALL
        SELECT i.n::integer, 'ItemListed', 'list-' || list_id, jsonb_build_object('item_id', i.id, 'position', i.n - 1)
        FROM unnest(item_ids) WITH ORDINALITY AS i (id, n)
        UNION ALL
        SELECT coalesce(cardinality(item_ids) + 1, 0),
            CASE WHEN due_on IS NULL THEN 'ListUnassigned' ELSE 'ListAssigned' END, 'group-' || group_id,
            jsonb_build_object('group_id', group_id, 'due_on', to_char(due_on, 'YYYY-MM-DD'))
        UNION ALL
        SELECT 1, 'ListArchived', 'list-' || list_id, '{}' WHERE mutation = 'unassignList'
    ) AS e;
END;

-- Return the events that assign a list of the catalogue to groups.
CREATE OR REPLACE FUNCTION event_store.assignments_of(list_id text) RETURNS SETOF event_store.events
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT * FROM event_store.events s
    WHERE s.event_type IN ('ListAssigned', 'ListUnassigned') AND s.stream_id LIKE 'group-%'
      AND hashtext(s.event_data ->> 'list_id') = hashtext(assignments_of.list_id)
      AND s.event_data ->> 'list_id' = assignments_of.list_id;
END;

-- Return the id of the call's list and, if the call is recorded, its last position and its shards. Of the log: whether
-- the list is assigned to the group; the time of the latest event that decides this; and of a task's list, too, whether
-- it is archived.
CREATE OR REPLACE FUNCTION event_store.find_tasks(
    caller text, mutation text, key text, group_id text, INOUT list_id text, name text, item_ids text[], due_on date,
    OUT global_position bigint, OUT shards smallint[], OUT is_assigned boolean, OUT is_archived boolean,
    OUT decided_at timestamptz
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan  -- as in append
SET enable_seqscan = off
AS $$
DECLARE
    is_same boolean;
BEGIN
    IF num_nulls(caller, mutation, key, group_id) > 0 OR mutation NOT IN ('setTask', 'assignList', 'unassignList')
        OR num_nulls(name, item_ids) <> 2 * (mutation <> 'setTask')::integer
        OR num_nulls(list_id) <> (mutation = 'setTask')::integer
        OR num_nulls(due_on) <> (mutation = 'unassignList')::integer
        OR due_on NOT BETWEEN '2000-01-01' AND '2099-12-31'
        OR length(name) NOT BETWEEN 1 AND 100 OR name ~ '[\u0001-\u001f\u007f-\u009f]'
        OR cardinality(item_ids) NOT BETWEEN 1 AND 100
        OR cardinality(item_ids) <> (SELECT count(DISTINCT i.id) FROM unnest(item_ids) AS i (id))
        OR EXISTS (SELECT FROM unnest(ARRAY[caller, key, group_id, list_id] || item_ids) AS i (id)
                   WHERE length(i.id) NOT BETWEEN 1 AND 200)
    THEN
        RAISE EXCEPTION 'expected a call that a teacher may make' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF mutation = 'setTask' THEN
        SELECT 'progress-task-' || event_store.call_uuid(k, jsonb_build_array(caller, mutation, key)) INTO list_id
        FROM event_store.erasure_key k;
    END IF;

    SELECT max(s.global_position), coalesce(array_agg(DISTINCT s.shard) FILTER (WHERE s.shard IS NOT NULL), '{}'),
        bool_and((s.stream_id, s.event_type, s.event_data) IS NOT DISTINCT FROM (t.stream_id, t.event_type, t.data))
            FILTER (WHERE t.event_type <> 'ListArchived')
    INTO global_position, shards, is_same
    FROM event_store.task_events(caller, mutation, key, group_id, list_id, name, item_ids, due_on) t
    LEFT JOIN LATERAL (SELECT * FROM event_store.events s WHERE s.event_id = t.event_id OFFSET 0) s ON true;
    IF global_position IS NOT NULL THEN
        IF NOT is_same THEN
            RAISE EXCEPTION 'expected the call that is recorded' USING ERRCODE = 'PR003';
        END IF;
        RETURN;
    END IF;

    SELECT max(s.occurred_at),
        coalesce((array_agg(s.event_type ORDER BY s.occurred_at DESC, s.event_id DESC))[1] = 'ListAssigned', false)
    INTO decided_at, is_assigned
    FROM event_store.assignments_of(find_tasks.list_id) s
    WHERE s.stream_id = 'group-' || group_id;
    IF mutation <> 'setTask' AND list_id LIKE 'progress-task-%' THEN
        SELECT greatest(decided_at, max(s.occurred_at)),
            (array_agg(s.event_type ORDER BY s.occurred_at DESC, s.event_id DESC))[1] = 'ListArchived'
        INTO decided_at, is_archived
        FROM event_store.events s
        WHERE s.stream_id = 'list-' || find_tasks.list_id AND s.event_type IN ('ListPublished', 'ListArchived');
    END IF;
END $$;

-- Record what a call records, as every append does it, at one time, which follows what was decided before of this group
-- and list. Return the id of the list, the number of events that this call has recorded, the shards to wake, and the
-- position after which the call counts, null if it records nothing: taking back what is not assigned. Taking back a
-- task's last assignment archives its list.
CREATE OR REPLACE FUNCTION event_store.append_tasks(
    caller text, mutation text, key text, group_id text, INOUT list_id text, name text, item_ids text[], due_on date,
    OUT events integer, OUT shards smallint[], OUT global_position bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    found   record;
    is_last boolean;
    at      timestamptz;
    batch   jsonb;
BEGIN
    -- Each statement from here on sees all earlier appends.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));
    SELECT * INTO found
    FROM event_store.find_tasks(caller, mutation, key, group_id, list_id, name, item_ids, due_on);
    list_id := found.list_id;
    events := 0;
    shards := found.shards;
    global_position := found.global_position;
    IF global_position IS NOT NULL OR mutation = 'unassignList' AND NOT found.is_assigned THEN
        RETURN;
    END IF;
    IF mutation = 'assignList' AND (found.is_archived OR list_id LIKE 'own:%') THEN
        RAISE EXCEPTION 'expected a list of the catalogue that is not archived' USING ERRCODE = 'PR004';
    END IF;
    is_last := NOT coalesce(found.is_archived, true) AND NOT EXISTS (
        SELECT FROM event_store.assignments_of(found.list_id) s
        WHERE s.stream_id <> 'group-' || append_tasks.group_id
        GROUP BY s.stream_id
        HAVING (array_agg(s.event_type ORDER BY s.occurred_at DESC, s.event_id DESC))[1] = 'ListAssigned');
    at := greatest(clock_timestamp(), found.decided_at + interval '1 microsecond');
    SELECT jsonb_agg(to_jsonb(t) || jsonb_build_object('occurred_at', at, 'metadata', '{"posted_by": "teacher"}'::jsonb)
            ORDER BY t.index), count(*)
    INTO batch, events
    FROM event_store.task_events(caller, mutation, key, group_id, list_id, name, item_ids, due_on) t
    WHERE t.event_type <> 'ListArchived' OR is_last;
    SELECT a.shards INTO append_tasks.shards FROM event_store.append(jsonb_build_object('events', batch)) a;
    SELECT s.global_position INTO append_tasks.global_position
    FROM event_store.events s WHERE s.event_id = (batch -> -1 ->> 'event_id')::uuid;
END $$;
