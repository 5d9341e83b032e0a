-- Empty up to `at_most` events of the learner's stream, the newest first; return the number of emptied events.
-- UserDeleted events are emptied only if with_deletions is true. Emptied events keep their positions, shards and
-- recording times, but move to the shard's stream of erased events. The learner's remaining events are renumbered, so
-- that their versions stay 1, 2, 3 … without gaps.
CREATE OR REPLACE FUNCTION event_store.redact_events(learner text, at_most integer, with_deletions boolean)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET lock_timeout = '10s'
SET enable_seqscan = off
SET jit = off
AS $$
DECLARE
    stream    text := 'learner-' || learner;
    target    text := event_store.erased_stream(event_store.shard_of(stream));
    last      bigint;              -- the highest version of the target stream
    positions bigint[];
    version   bigint;              -- the lowest unused version of the learner's stream
    deletion  record;
BEGIN
    -- Only one transaction at a time may add events to the target stream.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.redact ' || target, 0));
    SELECT coalesce(max(e.stream_version), 0) INTO last FROM event_store.events e WHERE e.stream_id = target;

    WITH next AS (
        SELECT n.*, row_number() OVER (ORDER BY n.stream_version) AS nth
        FROM (
            SELECT e.global_position, e.stream_version
            FROM event_store.events e
            WHERE e.stream_id = stream AND (with_deletions OR e.event_type <> 'UserDeleted')
            ORDER BY e.stream_version DESC
            LIMIT at_most
        ) n
    ), emptied AS (
        UPDATE event_store.events e
        SET event_id = gen_random_uuid(), event_type = 'Erased', event_data = '{}', metadata = '{}',
            occurred_at = e.created_at, stream_id = target, stream_version = last + n.nth
        FROM next n
        WHERE e.global_position = n.global_position
        RETURNING e.global_position, n.stream_version
    )
    SELECT array_agg(e.global_position), min(e.stream_version) INTO positions, version FROM emptied e;

    FOR deletion IN
        SELECT e.global_position FROM event_store.events e
        WHERE e.stream_id = stream AND e.stream_version > version ORDER BY e.stream_version
    LOOP
        UPDATE event_store.events e SET stream_version = version WHERE e.global_position = deletion.global_position;
        version := version + 1;
    END LOOP;

    DELETE FROM event_store.poisoned p WHERE p.global_position = ANY (positions);
    PERFORM event_store.redact_letters(ARRAY(
        SELECT l.letter_id FROM event_store.dead_letters l
        WHERE l.subscription = '' AND l.message_id = ANY (ARRAY(SELECT 'position-' || p FROM unnest(positions) p))));
    RETURN coalesce(cardinality(positions), 0);
END $$;

ALTER FUNCTION event_store.redact_events OWNER TO progress_erasure;
REVOKE EXECUTE ON FUNCTION event_store.redact_events FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.redact_events TO progress_project;
