-- Announce an event, unless its id is announced: it is to be published, and is recorded soon. Return whether it is new,
-- and the contents of all announced events of the scope. Announce nothing for an erased learner, who has no row.
CREATE OR REPLACE FUNCTION event_store.announce(
    user_id text, scope text, event_id text, content text, seconds integer,
    OUT is_new boolean, OUT contents text[]
) RETURNS SETOF record
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '3s' AS $$
#variable_conflict use_column
BEGIN
    -- Learners are not erased between the check and the end of the transaction.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('event_store.erased', 0));
    IF event_store.is_erased(announce.user_id) THEN
        RETURN;
    END IF;
    -- One call at a time, so that each call sees the announcements of those before it.
    PERFORM pg_advisory_xact_lock(hashtextextended('event_store.announced ' || announce.user_id, 0));
    DELETE FROM event_store.announcements a
    USING (
        SELECT user_id, scope, event_id FROM event_store.announcements
        WHERE announced_at < clock_timestamp() - make_interval(secs => seconds)
        ORDER BY announced_at LIMIT 100 FOR UPDATE SKIP LOCKED
    ) old
    WHERE (a.user_id, a.scope, a.event_id) = (old.user_id, old.scope, old.event_id);
    INSERT INTO event_store.announcements (user_id, scope, event_id, content)
    VALUES (announce.user_id, announce.scope, announce.event_id, announce.content)
    ON CONFLICT DO NOTHING;
    is_new := FOUND;
    contents := ARRAY(
        SELECT content FROM event_store.announcements
        WHERE user_id = announce.user_id AND scope = announce.scope);
    RETURN NEXT;
END $$;

CREATE OR REPLACE FUNCTION event_store.withdraw(user_id text, scope text, event_id text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM event_store.announcements a
    WHERE (a.user_id, a.scope, a.event_id) = (withdraw.user_id, withdraw.scope, withdraw.event_id);
END;
