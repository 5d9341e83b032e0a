-- Trigger function: when a restored dump inserts the key with which its digests were computed, delete the key that a
-- migration created.
CREATE OR REPLACE FUNCTION event_store.replace_erasure_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM event_store.erasure_key;
    RETURN NEW;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.replace_erasure_key FROM PUBLIC;
