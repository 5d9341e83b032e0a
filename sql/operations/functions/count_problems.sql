-- Count the operations that failed or timed out within the last hour, and the overdue operations. An operation is
-- overdue if it is unfinished more than an hour after its start or retry. For an erasure, this limit is 24 hours. The
-- query derives the time of the start or retry from expires_at, which is a fixed time later: 24 hours or, for an
-- erasure, 14 days. A cancelled operation counts as failed only if a step could not be compensated.
CREATE OR REPLACE FUNCTION operations.count_problems(OUT failed bigint, OUT overdue bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT
        (SELECT count(*) FROM operations.operations o
         WHERE o.finished_at > clock_timestamp() - interval '1 hour' AND o.state IN ('FAILED', 'TIMED_OUT')
           AND (o.cancelled_by IS NULL OR o.error LIKE '%; not compensated: %')),
        (SELECT count(*) FROM operations.operations o
         WHERE o.finished_at IS NULL AND o.expires_at < clock_timestamp()
             + CASE o.kind WHEN 'ERASE_USER' THEN interval '13 days' ELSE interval '23 hours' END);
END;

REVOKE EXECUTE ON FUNCTION operations.count_problems FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.count_problems TO progress_batch, progress_project;
