-- Drop the events of erased learners from a batch; `erased` is the number dropped. An event belongs to an erased
-- learner if it names the learner. A SessionStarted, or an event that names no learner, also belongs to an erased
-- learner if it names a session of that learner.
--
-- If the SessionStarted of a new session is dropped, the session is recorded as a session of an erased learner, and the
-- session's pending events are deleted.
CREATE OR REPLACE FUNCTION event_store.drop_erased(INOUT events jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    key           event_store.erasure_key;
    dropped       bigint[];
    new_sessions  text[];
    session       text;
    owner         text;
BEGIN
    SELECT * INTO STRICT key FROM event_store.erasure_key;
    -- Most events belong to no erased learner. For a single event, check this first with three lookups, because they
    -- are faster than the statement below.
    IF jsonb_array_length(events) = 1 THEN
        session := events -> 0 ->> 'session_id';
        SELECT s.user_id INTO owner FROM event_store.sessions s WHERE s.session_id = session;
        IF owner IS DISTINCT FROM '' AND NOT EXISTS (
            SELECT FROM event_store.erased x
            WHERE x.digest = ANY (ARRAY[
                event_store.keyed_digest(key, events -> 0 ->> 'learner'), event_store.keyed_digest(key, owner)])
        ) AND NOT EXISTS (
            SELECT FROM event_store.sessions s
            WHERE s.session_id = encode(event_store.keyed_digest(key, session), 'hex'))
        THEN
            erased := 0;
            RETURN;
        END IF;
    END IF;
    WITH incoming AS MATERIALIZED (
        SELECT i.n, i.e ->> 'learner' AS learner, i.e ->> 'session_id' AS session_id,
            i.e ->> 'event_type' = 'SessionStarted' AS is_start
        FROM jsonb_array_elements(events) WITH ORDINALITY AS i (e, n)
    ), session AS MATERIALIZED (
        SELECT s.session_id, known.user_id IS NULL AND hidden.user_id IS NULL AS is_new,
            coalesce(known.user_id, hidden.user_id, s.starter) AS learner
        FROM (
            SELECT i.session_id, (array_agg(i.learner ORDER BY i.n) FILTER (WHERE i.is_start))[1] AS starter
            FROM incoming i WHERE i.session_id IS NOT NULL GROUP BY i.session_id
        ) s
        -- OFFSET 0 makes the plan look up each row by key, however small the table was when the plan was made.
        LEFT JOIN LATERAL (
            SELECT o.user_id FROM event_store.sessions o WHERE o.session_id = s.session_id OFFSET 0
        ) known ON true
        LEFT JOIN LATERAL (
            SELECT o.user_id FROM event_store.sessions o
            WHERE o.session_id = encode(event_store.keyed_digest(key, s.session_id), 'hex') OFFSET 0
        ) hidden ON true
    ), gone AS MATERIALIZED (          -- the batch's erased learners; '' stands for the learner of an erased session
        SELECT l.learner
        FROM (SELECT i.learner FROM incoming i UNION SELECT s.learner FROM session s) l
        LEFT JOIN LATERAL (
            SELECT x.digest FROM event_store.erased x
            WHERE x.digest = event_store.keyed_digest(key, l.learner) OFFSET 0
        ) x ON true
        WHERE x.digest IS NOT NULL OR l.learner = ''
    )
    SELECT
        ARRAY(SELECT i.n FROM incoming i LEFT JOIN session s ON s.session_id = i.session_id
              WHERE i.learner IN (SELECT g.learner FROM gone g) OR s.learner IN (SELECT g.learner FROM gone g)),
        ARRAY(SELECT s.session_id FROM session s
              WHERE s.is_new AND s.learner IN (SELECT g.learner FROM gone g) ORDER BY s.session_id)
    INTO dropped, new_sessions;

    IF new_sessions <> '{}' THEN
        INSERT INTO event_store.sessions (session_id, user_id)
        SELECT encode(event_store.erasure_digest(s), 'hex'), '' FROM unnest(new_sessions) s;
        DELETE FROM event_store.pending p WHERE p.session_id = ANY (new_sessions);
    END IF;
    IF dropped <> '{}' THEN
        SELECT coalesce(jsonb_agg(i.e ORDER BY i.n), '[]') INTO events
        FROM jsonb_array_elements(events) WITH ORDINALITY AS i (e, n) WHERE i.n <> ALL (dropped);
    END IF;
    erased := cardinality(dropped);
END $$;

REVOKE EXECUTE ON FUNCTION event_store.drop_erased FROM PUBLIC;
