-- Return the HMAC-SHA-256 of an id, with the key of this log's erasures.
CREATE OR REPLACE FUNCTION event_store.erasure_digest(id text) RETURNS bytea
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT sha256(k.outer_key || sha256(k.inner_key || convert_to(erasure_digest.id, 'UTF8')))
    FROM event_store.erasure_key k;
END;

REVOKE EXECUTE ON FUNCTION event_store.erasure_digest FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.erasure_digest TO progress_project, progress_batch, progress_erasure;
