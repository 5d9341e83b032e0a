-- Empty the given dead letters, and close them as `erased`. Keep the message id and the index, so that a redelivery is
-- recognized.
CREATE OR REPLACE FUNCTION event_store.redact_letters(letter_ids bigint[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    UPDATE event_store.dead_letters l
    SET event_id = NULL, event_type = NULL, reason = 'erased', payload = '', attributes = '{}', due_at = NULL,
        discarded_at = coalesce(l.discarded_at, clock_timestamp()), discard_reason = 'erased'
    WHERE l.letter_id = ANY (redact_letters.letter_ids);
END;

REVOKE EXECUTE ON FUNCTION event_store.redact_letters FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.redact_letters TO progress_erasure, progress_project, progress_batch;
