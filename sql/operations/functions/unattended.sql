-- List the unfinished operations that no worker has claimed, oldest first. Read the locks from pg_locks, because taking
-- a lock, even briefly, might keep a worker from claiming the operation.
CREATE OR REPLACE FUNCTION operations.unattended() RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT o.operation_id FROM operations.operations o
    WHERE o.finished_at IS NULL AND NOT EXISTS (
        SELECT FROM pg_locks l
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND (l.classid::bigint << 32 | l.objid::bigint) = operations.lock_key(o.operation_id))
    ORDER BY o.number;
END;

REVOKE EXECUTE ON FUNCTION operations.unattended FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.unattended TO progress_batch;
