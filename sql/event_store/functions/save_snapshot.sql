-- Save the state of a stream, or replace the one of the same version and fingerprint. Of the stream and fingerprint,
-- keep only the `kept` newest versions. Save nothing about an erased learner.
CREATE OR REPLACE FUNCTION event_store.save_snapshot(
    stream_id text, stream_version bigint, fingerprint text, newest_occurred_at timestamptz,
    state jsonb, kept integer
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
#variable_conflict use_column
BEGIN
    -- Learners are not erased between the check and the end of the transaction.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
    IF save_snapshot.stream_id LIKE 'learner-%' AND EXISTS (
        SELECT FROM event_store.erased x
        WHERE x.digest = event_store.erasure_digest(substr(save_snapshot.stream_id, length('learner-') + 1))
    ) THEN
        RETURN;
    END IF;
    INSERT INTO event_store.snapshots AS s (stream_id, stream_version, fingerprint, newest_occurred_at, state)
    VALUES (save_snapshot.stream_id, save_snapshot.stream_version, save_snapshot.fingerprint,
        save_snapshot.newest_occurred_at, save_snapshot.state)
    ON CONFLICT (stream_id, stream_version, fingerprint) DO UPDATE
    SET newest_occurred_at = excluded.newest_occurred_at, state = excluded.state, taken_at = clock_timestamp();
    DELETE FROM event_store.snapshots old
    WHERE old.stream_id = save_snapshot.stream_id AND old.fingerprint = save_snapshot.fingerprint
      AND old.stream_version < (
          SELECT newer.stream_version FROM event_store.snapshots newer
          WHERE newer.stream_id = save_snapshot.stream_id AND newer.fingerprint = save_snapshot.fingerprint
          ORDER BY newer.stream_version DESC OFFSET kept - 1 LIMIT 1);
END $$;
