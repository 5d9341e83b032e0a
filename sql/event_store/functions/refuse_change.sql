-- Trigger function: reject statements that change or delete events. Only the role progress_erasure, under which the
-- erasure procedure runs, may change or delete events; a superuser must first switch to this role.
CREATE OR REPLACE FUNCTION event_store.refuse_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user = 'progress_erasure' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'event_store.events is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;

REVOKE EXECUTE ON FUNCTION event_store.refuse_change FROM PUBLIC;
