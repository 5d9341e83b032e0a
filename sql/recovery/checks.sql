-- The checks of `progress check`: the log is complete, and the read models were made from it.

-- log --
-- Deletions have no part in the time, since which messages are replayed: an erasure after a restore appends some.
SELECT count(*) AS events, coalesce(min(global_position), 0) AS first, coalesce(max(global_position), 0) AS head,
    max(created_at) FILTER (WHERE event_type NOT IN ('UserDeleted', 'Erased')) AS recorded_at
FROM event_store.events;

-- gaps --
-- The first three ranges of missing positions.
SELECT previous + 1 AS first, global_position - 1 AS last
FROM (
    SELECT global_position, lag(global_position, 1, CAST(0 AS bigint)) OVER (ORDER BY global_position) AS previous
    FROM event_store.events
) p
WHERE global_position <> previous + 1
ORDER BY global_position
LIMIT 3;

-- streams --
-- The number of streams whose versions are not 1, 2, 3 …
SELECT count(*)
FROM (
    SELECT FROM event_store.events
    GROUP BY stream_id
    HAVING count(*) <> max(stream_version) OR min(stream_version) <> 1
) s;

-- strays --
-- The number of events whose shard differs from the shard that this server computes for their stream. Such events were
-- recorded by another server that hashes text differently.
SELECT count(*) FROM event_store.events WHERE shard <> event_store.shard_of(stream_id);

-- letter bytes --
-- The senders of whom letter_bytes has not the bytes of the open dead letters (letter_size).
SELECT coalesce(poster, subscription) AS sender
FROM (
    SELECT poster, subscription, octet_length(payload) + 512 AS bytes
    FROM event_store.dead_letters
    WHERE replayed_at IS NULL AND discarded_at IS NULL AND kind <> 'poisoned'
    UNION ALL
    SELECT poster, '', -bytes FROM event_store.letter_bytes
) l
GROUP BY 1
HAVING sum(bytes) <> 0
ORDER BY 1;

-- numbers --
-- The tables whose sequence would next return a number that a row already has. This happens if the rows were restored
-- without the state of the sequence.
SELECT t.name
FROM (
    SELECT 'event_store.dead_letters' AS name, 'letter_id' AS key, max(letter_id) AS highest
    FROM event_store.dead_letters
    UNION ALL
    SELECT 'event_store.pending', 'arrival', max(arrival) FROM event_store.pending
    UNION ALL
    SELECT 'event_store.milestone_marks', 'number', max(number) FROM event_store.milestone_marks
    UNION ALL
    SELECT 'operations.operations', 'number', max(number) FROM operations.operations
) t
WHERE t.highest > coalesce(pg_sequence_last_value(CAST(pg_get_serial_sequence(t.name, t.key) AS regclass)), 0)
ORDER BY t.name;

-- checkpoints --
-- Each shard's checkpoints, and the number of events that the shard is behind. `ahead`: a checkpoint is past the log's
-- end. `other`: the event at the checkpoint is not the event that was folded, so the rows were made from another log.
SELECT c.shard, c.position, b.position AS batch_position,
    (SELECT count(*) FROM event_store.events e
     WHERE (e.shard, e.global_position) > (c.shard, c.position)
       AND (e.shard, e.global_position) < (c.shard + 1, 0)) AS events_behind,
    greatest(c.position, b.position, b.catalogue_position) > h.head AS ahead,
    c.position BETWEEN 1 AND h.head AND NOT EXISTS (
        SELECT FROM event_store.events e
        WHERE e.shard = c.shard AND e.global_position = c.position AND e.created_at = c.updated_at) AS other
FROM checkpoints c
JOIN batch_checkpoints b USING (shard)
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS head FROM event_store.events) h
ORDER BY c.shard;
