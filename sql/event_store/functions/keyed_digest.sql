-- Return the HMAC-SHA-256 of an id with the given key. PostgreSQL inlines this function: erasure_digest, which reads
-- the key itself, takes ten times as long.
CREATE OR REPLACE FUNCTION event_store.keyed_digest(key event_store.erasure_key, id text) RETURNS bytea
LANGUAGE sql IMMUTABLE
RETURN sha256((key).outer_key || sha256((key).inner_key || convert_to(id, 'UTF8')));

REVOKE EXECUTE ON FUNCTION event_store.keyed_digest FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.keyed_digest TO progress_project, progress_erasure;
