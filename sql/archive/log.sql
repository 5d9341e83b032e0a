-- The log, as the archive reads it. progress/archive/log_rows.py runs these blocks in PostgreSQL.

-- lock --
SELECT pg_try_advisory_lock(hashtext('archive'), 0);

-- unlock --
SELECT pg_advisory_unlock(hashtext('archive'), 0);

-- begin snapshot --
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

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

-- erased soon --
-- The condition for events that an erasure has not emptied yet. The operation of an erasure names the learner until the
-- erasure ends; by then, all events of the learner are emptied.
e.event_type <> 'Erased' AND e.stream_id IN (
    SELECT 'learner-' || CAST(o.arguments ->> 'user_id' AS text)
    FROM operations.operations o
    JOIN event_store.erased x ON x.digest = event_store.erasure_digest(o.arguments ->> 'user_id')
    WHERE o.kind = 'ERASE_USER')

-- archived --
-- The chosen events, as the archive has them: one that is erased soon as if it were emptied, without its later id and
-- version.
SELECT e.global_position, e.event_id, e.stream_id, e.stream_version, e.event_type, e.event_data, e.metadata,
    e.occurred_at, e.created_at, e.shard
FROM event_store.events e
WHERE {chosen} AND NOT ({archive/log erased soon})
UNION ALL
SELECT e.global_position, NULL, event_store.erased_stream(e.shard), NULL, 'Erased', '{}', '{}',
    e.created_at, e.created_at, e.shard
FROM event_store.events e
WHERE {chosen} AND {archive/log erased soon}

-- bucket --
-- The bucket of a row; -1 stands for `others`, the streams that belong to no learner. An emptied event is in the first
-- bucket of its shard.
CASE WHEN a.stream_id LIKE 'learner-%'
     THEN hashtextextended(a.stream_id, 0) & (CAST(current_setting('archive.buckets') AS bigint) - 1)
     WHEN a.stream_id LIKE 'erased-%' THEN a.shard ELSE -1 END

-- select range --
-- COPY takes no parameters, so the blocks below read the positions and the number of buckets from these settings.
SELECT set_config('archive.first', :first, false), set_config('archive.last', :last, false),
    set_config('archive.buckets', :buckets, false);

-- range --
e.global_position BETWEEN CAST(current_setting('archive.first') AS bigint)
    AND CAST(current_setting('archive.last') AS bigint)

-- select positions --
SELECT set_config('archive.positions', CAST(CAST(:positions AS bigint[]) AS text), false),
    set_config('archive.buckets', '1', false);

-- positions --
e.global_position = ANY (CAST(current_setting('archive.positions') AS bigint[]))

-- rows --
-- The chosen rows as CSV. Times are microseconds since 1970.
COPY (
    SELECT {archive/log bucket}, a.global_position, a.event_id, a.stream_id, a.stream_version,
        a.event_type, a.event_data, a.metadata,
        CAST(extract(epoch FROM a.occurred_at) * 1000000 AS bigint),
        CAST(extract(epoch FROM a.created_at) * 1000000 AS bigint), a.shard
    FROM ({archive/log archived}) a
) TO STDOUT WITH (FORMAT csv, ENCODING 'UTF8');

-- sums --
-- For each bucket of the range: the number of rows, and two sums of the rows' hashes. Erased rows are summed up under
-- the number -2, because a row stays in its bucket when it is emptied.
-- The MD5 of a row is computed over its columns, joined by U+001F; of an erased row, without its id and version. The
-- first sum adds up the first eight hexadecimal digits of each row's MD5, the second sum the next eight.
SELECT r.bucket, count(*),
    sum(CAST(CAST('x' || substr(r.digest, 1, 8) AS bit(32)) AS bigint)),
    sum(CAST(CAST('x' || substr(r.digest, 9, 8) AS bit(32)) AS bigint))
FROM (
    SELECT CASE WHEN a.event_type = 'Erased' THEN -2 ELSE {archive/log bucket} END AS bucket, md5(concat_ws(chr(31),
        a.global_position, CASE WHEN a.event_type <> 'Erased' THEN a.event_id END, a.stream_id,
        CASE WHEN a.event_type <> 'Erased' THEN a.stream_version END, a.event_type, a.event_data, a.metadata,
        CAST(extract(epoch FROM a.occurred_at) * 1000000 AS bigint),
        CAST(extract(epoch FROM a.created_at) * 1000000 AS bigint), a.shard)) AS digest
    FROM ({archive/log archived}) a
    OFFSET 0  -- without OFFSET 0, PostgreSQL would compute the MD5 twice
) r
GROUP BY r.bucket;

-- erased positions --
SELECT a.global_position FROM ({archive/log archived}) a WHERE a.event_type = 'Erased';

-- emptied others --
-- The emptied events of the streams that belong to no learner.
SELECT e.global_position FROM event_store.events e
WHERE e.stream_id >= 'other-' AND e.stream_id < 'other.' AND e.event_type = 'Erased'
ORDER BY e.global_position;

-- recorded times --
SELECT e.global_position, e.created_at FROM event_store.events e
WHERE e.global_position = ANY (CAST(:positions AS bigint[]));

-- bucket of stream --
SELECT hashtextextended(CAST(:stream_id AS text) COLLATE "C", 0) & (CAST(:buckets AS bigint) - 1);
