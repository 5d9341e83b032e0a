-- Erased learners (sql/event_store/functions/*erase*, sql/operations/functions/erase*): the append accepts no event of
-- them. Their events stay in place without contents, in the stream event_store.erased_stream of their shard.

CREATE TABLE event_store.erased (
    digest       bytea       PRIMARY KEY,      -- event_store.erasure_digest of the learner's id
    operation_id uuid        NOT NULL,
    erased_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The key of the digests, as HMAC-SHA-256 uses it: 32 random bytes, padded to 64 and combined with each pad.
CREATE TABLE event_store.erasure_key (
    inner_key bytea NOT NULL,
    outer_key bytea NOT NULL
);
CREATE UNIQUE INDEX erasure_key_is_one_row ON event_store.erasure_key ((true));

-- A restored dump brings the key of its digests, in place of the one that this migration creates.
CREATE FUNCTION event_store.replace_erasure_key() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM event_store.erasure_key;
    RETURN NEW;
END $$;
CREATE TRIGGER replace_key BEFORE INSERT ON event_store.erasure_key
    FOR EACH ROW EXECUTE FUNCTION event_store.replace_erasure_key();

INSERT INTO event_store.erasure_key
SELECT decode(string_agg(lpad(to_hex(get_byte(k.key, n) # 54), 2, '0'), '' ORDER BY n), 'hex'),
    decode(string_agg(lpad(to_hex(get_byte(k.key, n) # 92), 2, '0'), '' ORDER BY n), 'hex')
FROM (SELECT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
          || decode(repeat('00', 32), 'hex') AS key) k, generate_series(0, 63) n;

-- An erased learner's sessions have an empty user_id, and the digest of the session's id in its place.
COMMENT ON TABLE event_store.sessions IS
    'The learner that the first SessionStarted to arrive named. A session of an erased learner has no learner, and the '
    'erasure_digest of its id in hexadecimal digits in place of its id.';

-- The functions that empty events run as this role, because the trigger on the events admits no other.
DO $$ BEGIN
    IF NOT pg_has_role('progress_erasure', 'USAGE') THEN
        EXECUTE format('GRANT progress_erasure TO %I', current_user);
    END IF;
END $$;
GRANT CREATE ON SCHEMA event_store TO progress_erasure;
GRANT SELECT, DELETE ON event_store.poisoned TO progress_erasure;

REVOKE ALL ON event_store.erasure_key FROM progress_query;  -- by the default privileges
REVOKE EXECUTE ON FUNCTION event_store.replace_erasure_key FROM PUBLIC;
GRANT SELECT ON event_store.erased TO progress_project, progress_batch;
