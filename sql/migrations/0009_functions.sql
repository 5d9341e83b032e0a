-- Rename the types of the append, and drop functions that sql/event_store/functions defines under new names. From here on
-- migrations make tables, types and rights; `migrate` applies the function files in the transaction of the migrations.

ALTER TYPE event_store.arrival RENAME TO incoming_event;
ALTER TYPE event_store.recorded RENAME TO append_result;

DROP FUNCTION event_store.write_letter;        -- write_dead_letter
DROP FUNCTION event_store.append_pending;      -- release_pending
DROP FUNCTION event_store.turn_of;             -- batch_order
DROP FUNCTION event_store.record_one;          -- record_event
DROP FUNCTION event_store.record_other;        -- record_special_case
DROP FUNCTION event_store.record_again;        -- record_known_id
DROP FUNCTION event_store.record_each;         -- record_row_by_row
DROP FUNCTION event_store.record_many;         -- record_batch
DROP FUNCTION event_store.take_letters;        -- record_rejections

COMMENT ON TYPE event_store.incoming_event IS
    'An event as ingest sends it. message, index: its place in the batch; learner, session_id: its own; '
    'stream_id: of an event without a learner; null while it waits for its session. n is not used.';
