-- Search a range of a table's disk blocks for rows that contain a learner's id in a text or JSON column. Skip the row
-- of the erasure's own operation, `operation_id`. Return the number of rows found. `is_other` is true for events
-- outside the learner's stream; an erasure does not change these events.
--
-- In the tables of Progress, the search skips columns and fields that cannot hold a learner's id. Otherwise it would
-- find items, sessions, levels and time zones whose id or name happens to be the learner's id.
CREATE OR REPLACE FUNCTION event_store.search_rows(
    learner text, operation_id uuid, table_id oid, first_block bigint, blocks bigint
) RETURNS TABLE (is_other boolean, how_many bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    named      text := event_store.mention_pattern(learner, is_free => false);
    free       text := event_store.mention_pattern(learner, is_free => true);
    forms      text[] := event_store.mention_forms(learner);
    is_log     boolean := table_id = 'event_store.events'::regclass;
    conditions text;
BEGIN
    SELECT string_agg(format(CASE
        WHEN t.is_ours AND a.attname = 'event_data' THEN
            'event_store.mentions(%1$I::text, $1, $2)'
            ' AND event_store.mentions((%1$I - ''{item_id,session_id,group_id}''::text[])::text, $1, $2)'
        WHEN t.is_ours AND a.attname = 'payload' THEN
            'event_store.mentions(%1$I, $1, $3) AND event_store.mentions(event_store.letter_text(%1$I, kind), $1, $3)'
        WHEN a.atttypid IN ('text'::regtype, 'varchar'::regtype) THEN 'event_store.mentions(%1$I, $1, $3)'
        WHEN a.atttypid IN ('text[]'::regtype, 'varchar[]'::regtype)
            THEN 'event_store.mentions(to_jsonb(%1$I)::text, $1, $2)'
        ELSE 'event_store.mentions(%1$I::text, $1, $2)' END, a.attname), ' OR ')
    INTO conditions
    FROM (
        SELECT c.oid, n.nspname IN ('event_store', 'operations') OR n.nspname LIKE 'progress\_%' AS is_ours
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = table_id
    ) t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'json'::regtype, 'jsonb'::regtype, 'text[]'::regtype,
        'varchar[]'::regtype)
      AND NOT (t.is_ours AND a.attname = ANY (ARRAY[
          'item_id', 'session_id', 'group_id', 'headword', 'language', 'level', 'domains', 'kind', 'name',
          'timezone', 'zone', 'fingerprint', 'state', 'failing_state', 'subscription', 'message_id']));
    IF conditions IS NULL THEN  -- the table has no text or JSON column, or was dropped
        RETURN;
    END IF;
    IF table_id = 'operations.operations'::regclass THEN
        conditions := format('operation_id <> %L AND (%s)', operation_id, conditions);
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT %s, count(*) FROM %s WHERE ctid >= ''(%s,0)'' AND ctid < ''(%s,0)'' AND (%s) GROUP BY 1',
        CASE WHEN is_log THEN format('stream_id <> %L', 'learner-' || learner) ELSE 'false' END,
        table_id::regclass, first_block, first_block + blocks, conditions) USING forms, named, free;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.search_rows FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.search_rows TO progress_project;
