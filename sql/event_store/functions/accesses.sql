-- The trace of who read a learner's record: readers append to it, and nothing else.

-- Record that a caller reads the records of these learners in the current UTC hour. Return the hour, and the learners
-- whose trace is on disk once the transaction has ended: all but the erased. An erased caller is named by the digest.
CREATE OR REPLACE FUNCTION event_store.record_accesses(
    read_by text, role text, learners text[], OUT hour timestamptz, OUT traced text[]
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    key    event_store.erasure_key;
    reader text;
BEGIN
    -- Nobody is erased between the check and the end of the transaction.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    reader := coalesce((
        SELECT encode(x.digest, 'hex') FROM event_store.erased x
        WHERE x.digest = event_store.keyed_digest(key, read_by) AND record_accesses.role <> 'system'), read_by);
    hour := date_trunc('hour', clock_timestamp(), 'UTC');
    traced := ARRAY(
        SELECT DISTINCT l.id COLLATE "C"   -- in this order, so that every call takes locks in the same order
        FROM unnest(learners) AS l (id)
        WHERE NOT EXISTS (SELECT FROM event_store.erased x WHERE x.digest = event_store.keyed_digest(key, l.id))
        ORDER BY 1);
    INSERT INTO event_store.accesses (user_id, hour, read_by, role)
    SELECT t.id, record_accesses.hour, reader, record_accesses.role
    FROM unnest(traced) WITH ORDINALITY AS t (id, n)
    ORDER BY t.n
    ON CONFLICT DO NOTHING;
END $$;

-- Name an erased learner by the digest in up to `at_most` rows, as the learner or as the reader, so that a list of what
-- somebody has read stays whole. Return the number of rows. Delete the counts of the learner's conflicts, too.
CREATE OR REPLACE FUNCTION event_store.redact_accesses(learner text, at_most integer, OUT redacted bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    DELETE FROM event_store.learner_conflicts c WHERE c.user_id = learner;
    WITH next AS (
        SELECT n.* FROM event_store.accesses n
        WHERE n.user_id = learner OR n.read_by = learner AND n.role <> 'system'
        LIMIT at_most
    ), gone AS (
        DELETE FROM event_store.accesses a USING next n
        WHERE (a.user_id, a.hour, a.read_by, a.role) = (n.user_id, n.hour, n.read_by, n.role)
        RETURNING a.*
    ), renamed AS (
        INSERT INTO event_store.accesses (user_id, hour, read_by, role)
        SELECT CASE g.user_id WHEN learner THEN d.digest ELSE g.user_id END, g.hour,
            CASE WHEN g.read_by = learner AND g.role <> 'system' THEN d.digest ELSE g.read_by END, g.role
        FROM gone g
        CROSS JOIN (SELECT encode(event_store.erasure_digest(learner), 'hex') AS digest) AS d
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO redacted FROM gone;
END $$;
