-- The interface of a schema of read models: all that a worker calls in it, whichever revision made the schema. A worker
-- folds every live schema (event_store.read_models), so a name, an argument or a result that changes needs another
-- version: workers leave out the schemas with a later version than theirs, and call those with an earlier one as they
-- are. Whoever has the connection's search path at the schema runs these blocks.

-- version --
2

-- signatures --
-- Of the functions that the blocks below call; a test compares them with the catalogue of a built schema. A fold locks
-- (hashtext(schema), shard), a run of the batch job (hashtext('batch ' || schema), shard), and whoever reads rows to
-- write others (hashtext('reading ' || schema), shard).
VALUES
    ('clear_mark', 'letter_id bigint', 'bigint'),
    ('count_waiting', 'of_shard smallint', 'bigint'),
    ('delete_learners', 'learners text[]', 'void'),
    ('drop_learners_not_due', 'event_interval bigint', 'void'),
    ('find_waiting', '', 'TABLE(shard smallint, next_position bigint, next_recorded_at timestamp with time zone)'),
    ('fold_batch', 'shards smallint[]', 'integer'),
    ('fold_deletions', 'positions bigint[]', 'void'),
    ('fold_window', 'window_shard smallint, at_most integer, lists_learners boolean, OUT folded integer, '
        'OUT oldest_ms double precision, OUT times double precision[]', 'record'),
    ('is_batch_behind', 'shards smallint[], log_end bigint', 'boolean'),
    ('poison_event', 'of_shard smallint, at bigint, error text', 'boolean'),
    ('prepare_batch', '', 'void'),
    ('prepare_window', '', 'void'),
    ('refold_event', 'at bigint', 'void'),
    ('remove_deletion', 'learner text', 'void'),
    ('take_snapshots', 'at_most integer, kept integer', 'integer')

-- functions --
-- Create the temporary tables of a window, unless the session has them. They are named after the folds' fingerprint
-- (see schema.py), so that a session has those of several schemas, and its plans stay in use.
CREATE FUNCTION prepare_window() RETURNS void LANGUAGE plpgsql AS $prepare$
BEGIN
    IF to_regclass('pg_temp.window_facts') IS NULL THEN
{window_tables}
    END IF;
END
$prepare$;

-- Create the temporary tables of the batch folds, unless the session has them.
CREATE FUNCTION prepare_batch() RETURNS void LANGUAGE plpgsql AS $prepare$
BEGIN
    IF to_regclass('pg_temp.batch_learners') IS NULL THEN
{projections/batch window}
    END IF;
END
$prepare$;

-- The shards with events that are not folded: the next event's position, and when it was recorded.
CREATE FUNCTION find_waiting() RETURNS TABLE (shard smallint, next_position bigint, next_recorded_at timestamptz)
LANGUAGE sql STABLE AS $waiting$
SELECT shard, next_position, next_recorded_at FROM shards_behind
$waiting$;

-- Return whether an event of these shards, up to log_end, is not in the batch models.
CREATE FUNCTION is_batch_behind(shards smallint[], log_end bigint) RETURNS boolean LANGUAGE sql STABLE AS $behind$
SELECT EXISTS (
    SELECT
    FROM batch_checkpoints b
    CROSS JOIN LATERAL (
        SELECT
        FROM event_store.events e
        WHERE (e.shard, e.global_position) > (b.shard, b.position)
          AND (e.shard, e.global_position) <= (b.shard, log_end)
        ORDER BY e.shard, e.global_position  -- by index
        LIMIT 1
    ) e
    WHERE b.shard = ANY (shards))
$behind$;

-- Mark the shard's next event as poisoned: it failed even when it was folded alone. Return null if another worker has
-- folded it since. The caller holds the shard's lock.
CREATE FUNCTION poison_event(of_shard smallint, at bigint, error text) RETURNS boolean LANGUAGE plpgsql AS $mark$
BEGIN
    PERFORM event_store.mark_poisoned(schema_fingerprint(), at, error)
    FROM shards_behind b
    WHERE b.shard = of_shard AND b.next_position = at;
    RETURN nullif(FOUND, false);
END
$mark$;

-- Let the folds include the event of a `poisoned` dead letter again. Return its position, which the caller must refold;
-- null if the folds include it already.
CREATE FUNCTION clear_mark(letter_id bigint) RETURNS bigint LANGUAGE sql AS $clear$
SELECT event_store.clear_marks(letter_id, schema_fingerprint())
$clear$;

-- Forget that the learner was deleted. The log has no event of the learner any more.
CREATE FUNCTION remove_deletion(learner text) RETURNS void LANGUAGE sql AS $remove$
DELETE FROM deleted_learners WHERE user_id = learner
$remove$;

-- prepare window --
SELECT prepare_window();

-- prepare batch --
SELECT prepare_batch();

-- count waiting --
-- The number of the shard's events that are not folded, up to 100,000, and the live schemas.
SELECT count_waiting(CAST(:shard AS smallint)), l.schemas, l.read
FROM (
{projections/live live}
) l;

-- shards behind --
SELECT shard FROM find_waiting() ORDER BY shard;

-- next position --
-- The position of the shard's next event to fold.
SELECT next_position FROM find_waiting() WHERE shard = :shard;

-- fold window --
-- In version 1, the last argument asked for the learners whose rows changed.
SELECT folded, oldest_ms, times FROM fold_window(:shard, :at_most, false);

-- lock shard --
SELECT pg_advisory_xact_lock(hashtext(current_schema()), :shard);

-- poison event --
SELECT poison_event(CAST(:shard AS smallint), CAST(:position AS bigint), :error);

-- lock event shard --
-- Lock an event's shard for this transaction.
SELECT pg_advisory_xact_lock(hashtext(current_schema()), shard)
FROM event_store.events
WHERE event_id = CAST(:event_id AS uuid);

-- clear mark --
SELECT clear_mark(CAST(:letter_id AS bigint));

-- refold event --
SELECT refold_event(:position);

-- fold batch --
SELECT fold_batch(CAST(:shards AS smallint[]));

-- is batch behind --
SELECT is_batch_behind(CAST(:shards AS smallint[]), CAST(:log_end AS bigint));

-- drop learners not due --
SELECT drop_learners_not_due(:event_interval);

-- take snapshots --
SELECT take_snapshots(:at_most, :kept);

-- fold deletion --
SELECT fold_deletions(ARRAY(
    SELECT e.global_position FROM event_store.events e
    WHERE e.stream_id = 'learner-' || CAST(:learner AS text) AND e.event_type = 'UserDeleted'));

-- delete learner --
SELECT delete_learners(ARRAY[CAST(:learner AS text)]), remove_deletion(:learner);
