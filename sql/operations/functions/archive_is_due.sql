-- Return true if a batch run must start the operation ARCHIVE. This is the case if at least range_length events are not
-- archived yet, or if the oldest of them is older than max_age. The caller starts at most one operation a day, because
-- it uses the date as the operation's key (see accept()).
CREATE OR REPLACE FUNCTION operations.archive_is_due(range_length bigint, max_age interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    WITH archived AS (
        SELECT coalesce(max(CAST(s.outcome ->> 'upto' AS bigint)), 0) AS upto
        FROM operations.operations o JOIN operations.steps s USING (operation_id)
        WHERE o.kind = 'ARCHIVE' AND s.name = 'publish' AND s.state = 'SUCCEEDED'
    )
    SELECT a.upto + archive_is_due.range_length <= (SELECT max(e.global_position) FROM event_store.events e)
        OR EXISTS (
            SELECT FROM event_store.events e
            WHERE e.global_position = a.upto + 1 AND e.created_at < clock_timestamp() - archive_is_due.max_age)
    FROM archived a;
END;

REVOKE EXECUTE ON FUNCTION operations.archive_is_due FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.archive_is_due TO progress_batch;
