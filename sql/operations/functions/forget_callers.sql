-- Trigger function: in an operation that ends, replace the ids of erased callers by the ids' digests. An erasure does
-- not change the unfinished operations that the learner has started.
CREATE OR REPLACE FUNCTION operations.forget_callers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller text;
    digest bytea;
BEGIN
    FOR caller, digest IN
        SELECT c.caller, x.digest
        FROM (SELECT DISTINCT unnest(NEW.requesters || NEW.started_by || NEW.cancelled_by)) AS c (caller)
        JOIN event_store.erased x ON x.digest = event_store.erasure_digest(c.caller)
        WHERE c.caller NOT LIKE 'system:%'
    LOOP
        NEW.requesters := array_replace(NEW.requesters, caller, encode(digest, 'hex'));
        NEW.started_by := CASE NEW.started_by WHEN caller THEN encode(digest, 'hex') ELSE NEW.started_by END;
        NEW.cancelled_by := CASE NEW.cancelled_by WHEN caller THEN encode(digest, 'hex') ELSE NEW.cancelled_by END;
    END LOOP;
    RETURN NEW;
END $$;

REVOKE EXECUTE ON FUNCTION operations.forget_callers FROM PUBLIC;
