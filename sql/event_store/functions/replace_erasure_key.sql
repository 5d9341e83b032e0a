-- Trigger function: delete the key that a migration created, before the restore of a dump inserts the dump's own key.
-- The digests in the dump were computed with the dump's key.
CREATE OR REPLACE FUNCTION event_store.replace_erasure_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM event_store.erasure_key;
    RETURN NEW;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.replace_erasure_key FROM PUBLIC;
