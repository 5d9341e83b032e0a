-- Record a batch one event at a time, in batch order. record_batch must give the same rows and outcomes: see the
-- comment in record_batch.sql.
CREATE OR REPLACE FUNCTION event_store.record_row_by_row(
    events jsonb, messages jsonb, OUT outcomes jsonb, OUT shards smallint[]
)
LANGUAGE plpgsql AS $$
DECLARE
    e      event_store.incoming_event;
    result event_store.append_result;
BEGIN
    outcomes := '{}';
    shards := '{}';
    FOR e IN SELECT * FROM jsonb_populate_recordset(NULL::event_store.incoming_event, events) LOOP
        result := event_store.record_event(e, messages -> coalesce(e.message, 0));
        outcomes := outcomes || jsonb_build_object(result.outcome, coalesce((outcomes ->> result.outcome)::int, 0) + 1);
        IF NOT result.shards <@ shards THEN
            shards := shards || result.shards;
        END IF;
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.record_row_by_row FROM PUBLIC;
