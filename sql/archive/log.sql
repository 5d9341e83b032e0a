-- The log, as the archive reads it. progress/archive/log_rows.py runs these blocks in PostgreSQL.

-- lock --
SELECT pg_try_advisory_lock(hashtext('archive'), 0);

-- unlock --
SELECT pg_advisory_unlock(hashtext('archive'), 0);

-- identity --
-- The event at position 1, and whether an erasure has emptied it. An emptied event has a new id.
SELECT CAST(e.event_id AS text), e.created_at, e.event_type = 'Erased'
FROM event_store.events e WHERE e.global_position = 1;

-- end --
SELECT coalesce(max(e.global_position), 0) FROM event_store.events e;

-- bound --
-- The last position that may be archived, or 0. Every shard is folded up to this position. If :before is not null, all
-- events up to this position were recorded before :before.
SELECT greatest(least(
    (SELECT coalesce(min(b.next_position) - 1, 9223372036854775807) FROM find_waiting() b),
    (SELECT coalesce(max(e.global_position), 0) FROM event_store.events e),
    CASE WHEN CAST(:before AS timestamptz) IS NOT NULL
         THEN coalesce(event_store.position_at(CAST(:before AS timestamptz)) - 1, 9223372036854775807) END
), 0);

-- is old --
-- Whether the event was recorded more than :days days ago.
SELECT e.created_at < clock_timestamp() - make_interval(days => CAST(:days AS integer))
FROM event_store.events e WHERE e.global_position = :position;

-- archived --
-- The condition for events of the archive: the event is not emptied, and no erasure of its learner has begun. The
-- operation of an erasure names the learner until the erasure ends; by then, all events of the learner are emptied.
e.event_type <> 'Erased' AND e.stream_id NOT IN (
    SELECT 'learner-' || CAST(o.arguments ->> 'user_id' AS text)
    FROM operations.operations o
    JOIN event_store.erased x ON x.digest = event_store.erasure_digest(o.arguments ->> 'user_id')
    WHERE o.kind = 'ERASE_USER')

-- bucket --
CASE WHEN e.stream_id LIKE 'learner-%'
     THEN hashtextextended(e.stream_id, 0) & (CAST(current_setting('archive.buckets') AS bigint) - 1) END

-- select range --
-- COPY takes no parameters, so the blocks below read the range and the number of buckets from these settings.
SELECT set_config('archive.first', :first, false), set_config('archive.last', :last, false),
    set_config('archive.buckets', :buckets, false);

-- range --
e.global_position BETWEEN CAST(current_setting('archive.first') AS bigint)
    AND CAST(current_setting('archive.last') AS bigint)

-- rows --
-- The rows of the range that belong in the archive, as CSV. Times are microseconds since 1970. Bucket -1 stands for
-- `others`, the events of streams that belong to no learner.
COPY (
    SELECT coalesce({archive/log bucket}, -1), e.global_position, e.event_id, e.stream_id, e.stream_version,
        e.event_type, e.event_data, e.metadata,
        CAST(extract(epoch FROM e.occurred_at) * 1000000 AS bigint),
        CAST(extract(epoch FROM e.created_at) * 1000000 AS bigint), e.shard
    FROM event_store.events e
    WHERE {archive/log range} AND {archive/log archived}
) TO STDOUT WITH (FORMAT csv, ENCODING 'UTF8');

-- sums --
-- For each bucket of the range: the number of rows, and two sums of the rows' hashes.
-- The MD5 of a row is computed over its columns, joined by U+001F. The first sum adds up the first eight hexadecimal
-- digits of each row's MD5, the second sum the next eight.
SELECT r.bucket, count(*),
    sum(CAST(CAST('x' || substr(r.digest, 1, 8) AS bit(32)) AS bigint)),
    sum(CAST(CAST('x' || substr(r.digest, 9, 8) AS bit(32)) AS bigint))
FROM (
    SELECT {archive/log bucket} AS bucket, md5(concat_ws(chr(31),
        e.global_position, e.event_id, e.stream_id, e.stream_version, e.event_type, e.event_data, e.metadata,
        CAST(extract(epoch FROM e.occurred_at) * 1000000 AS bigint),
        CAST(extract(epoch FROM e.created_at) * 1000000 AS bigint), e.shard)) AS digest
    FROM event_store.events e
    WHERE {archive/log range} AND {archive/log archived}
    OFFSET 0  -- without OFFSET 0, PostgreSQL would compute the MD5 twice
) r
GROUP BY r.bucket;

-- erased columns --
-- If a row is not emptied yet, its id and version are null. Only an emptied row that stayed in its stream has a stream;
-- all other emptied rows are in their shard's stream of erased events.
SELECT e.global_position, e.shard, e.created_at,
    CASE WHEN e.event_type = 'Erased' THEN CAST(e.event_id AS text) END,
    CASE WHEN e.event_type = 'Erased' THEN e.stream_version END,
    CASE WHEN e.event_type = 'Erased' AND e.stream_id LIKE 'other-%' THEN e.stream_id END
FROM event_store.events e

-- erased rows --
-- The range's rows for which the condition `archived` is false.
{archive/log erased columns}
WHERE {archive/log range} AND NOT ({archive/log archived})
ORDER BY e.global_position;

-- removed rows --
{archive/log erased columns}
WHERE e.global_position = ANY (CAST(:positions AS bigint[]))
ORDER BY e.global_position;

-- emptied others --
-- The emptied events of the streams that belong to no learner.
SELECT e.global_position FROM event_store.events e
WHERE e.stream_id >= 'other-' AND e.stream_id < 'other.' AND e.event_type = 'Erased'
ORDER BY e.global_position;

-- recorded times --
SELECT e.global_position, e.created_at FROM event_store.events e
WHERE e.global_position = ANY (CAST(:positions AS bigint[]));

-- checkpoints --
-- The last archived event of each shard, up to position :upto.
SELECT n.shard, last.global_position, CAST(last.event_id AS text), last.created_at
FROM generate_series(0, 15) n (shard)
CROSS JOIN LATERAL (
    SELECT e.global_position, e.event_id, e.created_at
    FROM event_store.events e
    WHERE e.shard = n.shard AND e.global_position <= CAST(:upto AS bigint) AND {archive/log archived}
    ORDER BY e.global_position DESC LIMIT 1
) last
ORDER BY n.shard;

-- bucket of stream --
SELECT hashtextextended(CAST(:stream_id AS text) COLLATE "C", 0) & (CAST(:buckets AS bigint) - 1);
