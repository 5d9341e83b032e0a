-- Return whether two events with the same id have the same content. The caller compares the learners. A time that was
-- taken from the message's publish time is not compared, because each delivery may have another publish time.
CREATE OR REPLACE FUNCTION event_store.same_content(
    a_type text, a_data jsonb, a_at timestamptz, a_metadata jsonb,
    b_type text, b_data jsonb, b_at timestamptz, b_metadata jsonb
) RETURNS boolean
LANGUAGE sql IMMUTABLE
RETURN a_type = b_type AND a_data = b_data AND (a_at = b_at
    OR a_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time'
    OR b_metadata ->> 'occurred_at_source' IS NOT DISTINCT FROM 'publish_time');

REVOKE EXECUTE ON FUNCTION event_store.same_content FROM PUBLIC;
