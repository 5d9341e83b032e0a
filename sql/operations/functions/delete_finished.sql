-- Delete the operations that finished more than 400 days ago, including cancelled erasures. Keep a failed erasure,
-- because an administrator must complete it. If another erasure of the learner has succeeded, do not keep the failed
-- one. A successful erasure replaces the learner's id by its digest in all erasures of the learner, so that they have
-- the same subject.
CREATE OR REPLACE FUNCTION operations.delete_finished() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    DELETE FROM operations.operations o
    WHERE o.finished_at < clock_timestamp() - INTERVAL '400 days'
      AND (o.kind <> 'ERASE_USER' OR o.state = 'SUCCEEDED' OR o.cancelled_by IS NOT NULL OR EXISTS (
          SELECT FROM operations.operations d
          WHERE d.kind = 'ERASE_USER' AND d.state = 'SUCCEEDED' AND d.subject = o.subject));
END;

REVOKE EXECUTE ON FUNCTION operations.delete_finished FROM PUBLIC;
GRANT EXECUTE ON FUNCTION operations.delete_finished TO progress_batch;
