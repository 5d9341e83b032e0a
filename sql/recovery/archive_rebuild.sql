-- A rebuild from the archive. The archive distributes the learners over buckets. The rebuild's two tables are in the
-- second schema until every bucket is loaded. PostgreSQL runs these blocks, with the second schema in the search path.

-- tables --
CREATE TABLE archive_rebuild (
    version   bigint   NOT NULL,   -- the version of the rows, which identifies the rebuild
    buckets   int      NOT NULL,
    upto      bigint   NOT NULL,   -- the last archived position
    poisoned  bigint[] NOT NULL    -- positions that the folds leave out
);
CREATE TABLE loaded_buckets (
    bucket int    PRIMARY KEY,
    events bigint NOT NULL
);
-- Empty deleted_learners. An erasure may have added a learner to this table before the shards were locked. The rebuild
-- adds all deleted learners again, from the archive and from the later events.
DELETE FROM deleted_learners;

-- act as owner --
-- This role owns the second schema and its tables. Each login that rebuilds is a member of the role.
SET LOCAL ROLE progress_project;

-- allow loading --
-- A login whose only group is progress_load may load buckets and nothing else. The workers of Apache
-- Beam on other machines use such logins.
GRANT USAGE ON SCHEMA {schema} TO progress_load;
GRANT SELECT ON archive_rebuild TO progress_load;
GRANT SELECT, INSERT ON loaded_buckets TO progress_load;
GRANT INSERT ON {tables} TO progress_load;

-- begin --
INSERT INTO archive_rebuild (version, buckets, upto, poisoned)
SELECT pg_current_xact_id()::text::bigint, CAST(:buckets AS int), CAST(:upto AS bigint),
    ARRAY(SELECT p.global_position FROM poisoned_events p WHERE p.global_position <= CAST(:upto AS bigint))
RETURNING version, buckets, poisoned;

-- open bucket --
-- The rebuild with this version, and whether the bucket is loaded.
SELECT r.version, r.buckets, r.poisoned, EXISTS (SELECT FROM loaded_buckets b WHERE b.bucket = CAST(:bucket AS int))
FROM archive_rebuild r
WHERE r.version = CAST(:version AS bigint);

-- take slot --
-- At most eight transactions load at the same time, because the database is the bottleneck.
SELECT n FROM generate_series(0, 7) n WHERE pg_try_advisory_xact_lock(hashtext('archive load'), n) LIMIT 1;

-- wait for slot --
SELECT pg_advisory_xact_lock(hashtext('archive load'), CAST(:bucket AS int) % 8);

-- record bucket --
-- Return no row if the bucket is loaded already, or if another rebuild has replaced this one.
INSERT INTO loaded_buckets (bucket, events)
SELECT CAST(:bucket AS int), CAST(:events AS bigint) FROM archive_rebuild r WHERE r.version = CAST(:version AS bigint)
ON CONFLICT DO NOTHING
RETURNING bucket;

-- copy --
COPY {table} FROM STDIN WITH (FORMAT csv, HEADER match, ENCODING 'UTF8');

-- count loaded --
SELECT CAST(coalesce(sum(b.events), 0) AS bigint) FROM loaded_buckets b;

-- missing buckets --
SELECT n
FROM archive_rebuild r
CROSS JOIN generate_series(0, r.buckets - 1) n
WHERE NOT EXISTS (SELECT FROM loaded_buckets b WHERE b.bucket = n)
ORDER BY n;

-- poisoned since --
-- Archived events that were poisoned after the rebuild began. Loaded buckets may contain such an event.
SELECT p.global_position
FROM poisoned_events p
CROSS JOIN archive_rebuild r
WHERE p.global_position <= r.upto AND p.global_position <> ALL (r.poisoned)
ORDER BY p.global_position
LIMIT 1;

-- checkpoints --
-- Record that each shard is folded up to its last archived event.
WITH reached AS (
    SELECT n.shard, last.global_position AS position, last.created_at AS recorded_at
    FROM generate_series(0, 15) n (shard)
    CROSS JOIN LATERAL (
        SELECT e.global_position, e.created_at
        FROM event_store.events e
        WHERE e.shard = n.shard AND e.global_position <= CAST(:upto AS bigint)
        ORDER BY e.global_position DESC LIMIT 1
    ) last
), realtime AS (
    UPDATE checkpoints c
    SET position = n.position, updated_at = n.recorded_at, catalogue_version = CAST(:version AS bigint)
    FROM reached n
    WHERE c.shard = n.shard
)
UPDATE batch_checkpoints b
SET position = coalesce((SELECT n.position FROM reached n WHERE n.shard = b.shard), 0),
    catalogue_position = CAST(:upto AS bigint), updated_at = clock_timestamp(), version = CAST(:version AS bigint);

-- end --
REVOKE INSERT ON {tables} FROM progress_load;
REVOKE USAGE ON SCHEMA {schema} FROM progress_load;
DROP TABLE archive_rebuild, loaded_buckets;

-- lock shards --
-- The session holds these locks, so that no erasure folds a deletion into the second schema while rows are loaded.
SELECT pg_advisory_lock(hashtext(CAST(:schema AS text)), n) FROM generate_series(0, 15) n;

-- unlock shards --
SELECT pg_advisory_unlock(hashtext(CAST(:schema AS text)), n) FROM generate_series(0, 15) n;

-- request snapshots --
-- The snapshots of the former read models are not used any more, so every learner needs a new snapshot.
INSERT INTO snapshot_learners SELECT user_id FROM user_progress ON CONFLICT DO NOTHING;
