-- The statements of progress/event_store/windows.py.

-- has messages --
SELECT {event_store/publication is due} FROM (VALUES (CAST(:shard AS smallint))) s (shard);

-- is due --
-- A version that cannot publish announcements calls the function, too, which therefore leaves them out.
event_store.has_messages(s.shard, :setting) OR :setting <> 'off' AND EXISTS (
    SELECT FROM event_store.erasure_announcements a
    WHERE a.shard = s.shard AND {event_store/publication is announced})

-- lock --
SELECT pg_try_advisory_lock(hashtext('event_store.publisher'), :shard);

-- unlock --
SELECT pg_advisory_unlock(hashtext('event_store.publisher'), :shard);

-- is announced --
-- After a day, `erase_on` is less than 30 days ahead: the batch job makes another announcement.
a.published_at IS NULL AND a.announced_at > clock_timestamp() - interval '1 day'
    AND NOT event_store.is_deleted('learner-' || a.user_id)

-- next announcements --
SELECT NULL AS position, NULL AS mark, 'announced' AS kind, 'ErasureAnnounced' AS event_type,
    a.announcement_id AS event_id, 'learner-' || a.user_id AS stream_id, a.announced_at AS committed_at,
    CAST(json_build_object('user_id', a.user_id, 'erase_on', a.erase_on) AS text) AS data
FROM event_store.erasure_announcements a
WHERE a.shard = :shard AND {event_store/publication is announced}

-- next messages --
-- The announcements are read first, so that none follows its learner's UserDeleted.
{event_store/publication next announcements}
UNION ALL
SELECT position, mark, kind, event_type, event_id, stream_id, committed_at, data
FROM event_store.next_messages(CAST(:shard AS smallint), :is_everything, :at_most, :max_bytes);

-- record announcements --
UPDATE event_store.erasure_announcements SET published_at = clock_timestamp()
WHERE announcement_id = ANY (CAST(:announcements AS uuid[]));

-- move --
SELECT event_store.move_publisher(CAST(:shard AS smallint), :position, :mark);

-- record failure --
INSERT INTO event_store.publisher_checkpoints AS c (shard, position, mark, answer) VALUES (:shard, 0, 0, :answer)
ON CONFLICT (shard) DO UPDATE SET answer = excluded.answer;

-- waiting --
-- How many events and marks wait, for how many seconds, and what a receiver of WEBHOOK_URL has answered to the first.
SELECT u.unpublished, extract(epoch FROM clock_timestamp() - u.oldest_at),
    (SELECT string_agg(DISTINCT c.answer, ', ') FROM event_store.publisher_checkpoints c)
FROM event_store.count_unpublished() u;
