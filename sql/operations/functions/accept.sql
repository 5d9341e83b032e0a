-- Return the operation that this caller has started with this key. If there is none, return the unfinished operation of
-- this kind about the same subject. If there is none either, start an operation.
-- is_same is true if the operation has these arguments, by_key if the caller has used the key before. daily_limit is
-- the number of operations of this kind about this subject that the caller may start within 24 hours. Failed operations
-- do not count. If daily_limit is null, there is no limit. If the caller has reached the limit, operation_id is null,
-- and the caller may start another operation after retry_after_s.
CREATE OR REPLACE FUNCTION operations.accept(
    kind text, started_by text, key text, arguments jsonb, steps text[], subject text, time_limit_s double precision,
    daily_limit integer,
    OUT operation_id uuid, OUT is_same boolean, OUT by_key boolean, OUT is_finished boolean, OUT retry_after_s integer
)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    digest bytea := sha256(convert_to(accept.key, 'UTF8'));
BEGIN
    LOOP
        INSERT INTO operations.operations AS o
            (kind, started_by, key_digest, arguments, subject, requesters, expires_at)
        VALUES (accept.kind, accept.started_by, digest, accept.arguments, accept.subject, ARRAY[accept.started_by],
            clock_timestamp() + make_interval(secs => accept.time_limit_s))
        ON CONFLICT DO NOTHING
        RETURNING o.operation_id, true, false, false
        INTO accept.operation_id, accept.is_same, accept.by_key, accept.is_finished;
        IF FOUND THEN
            -- Concurrent requests about the subject conflict with the new row, so they wait for the end of this
            -- transaction. Each request therefore counts all earlier requests.
            SELECT ceil(extract(epoch FROM min(o.started_at) + INTERVAL '24 hours' - clock_timestamp()))
            INTO accept.retry_after_s
            FROM operations.operations o
            WHERE o.kind = accept.kind AND o.started_by = accept.started_by AND o.subject = accept.subject
              AND o.state NOT IN ('FAILED', 'TIMED_OUT') AND o.started_at > clock_timestamp() - INTERVAL '24 hours'
            HAVING count(*) > accept.daily_limit;
            IF FOUND THEN
                DELETE FROM operations.operations o WHERE o.operation_id = accept.operation_id;
                accept.operation_id := NULL;
                RETURN;
            END IF;
            INSERT INTO operations.steps (operation_id, place, name)
            SELECT accept.operation_id, s.place, s.name FROM unnest(accept.steps) WITH ORDINALITY AS s (name, place);
            RETURN;
        END IF;
        UPDATE operations.operations o SET requesters = ARRAY(SELECT DISTINCT unnest(o.requesters || accept.started_by))
        FROM (
            SELECT f.operation_id, f.started_by = accept.started_by AND f.key_digest = digest AS by_key
            FROM operations.operations f
            WHERE f.kind = accept.kind AND (f.started_by = accept.started_by AND f.key_digest = digest
                OR f.subject = accept.subject AND f.finished_at IS NULL)
            ORDER BY by_key DESC LIMIT 1) f
        WHERE o.operation_id = f.operation_id
        RETURNING o.operation_id, o.arguments = accept.arguments, f.by_key, o.finished_at IS NOT NULL
        INTO accept.operation_id, accept.is_same, accept.by_key, accept.is_finished;
        EXIT WHEN FOUND;  -- not found: the conflicting operation has ended meanwhile, so try again
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION operations.accept(text, text, text, jsonb, text[], text, double precision, integer)
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.accept(text, text, text, jsonb, text[], text, double precision, integer)
    TO progress_query, progress_batch;
