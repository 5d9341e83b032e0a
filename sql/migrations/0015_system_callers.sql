-- Callers of operations that are not people have names that begin with 'system:'. The query function rejects tokens
-- with such a sub (progress/operations/callers.py).

UPDATE operations.operations o SET
    started_by = CASE WHEN o.started_by IN ('command line', 'batch job') THEN 'system:' ELSE '' END || o.started_by,
    cancelled_by = CASE WHEN o.cancelled_by IN ('command line', 'erasure', 'deletion') THEN 'system:' ELSE '' END
        || o.cancelled_by,
    requesters = array_replace(
        array_replace(o.requesters, 'command line', 'system:command line'), 'batch job', 'system:batch job')
WHERE o.started_by IN ('command line', 'batch job') OR o.cancelled_by IN ('command line', 'erasure', 'deletion')
   OR o.requesters && ARRAY['command line', 'batch job'];
