-- Dead letters. A row of the table is a `DeadLetter` of progress/event_store/dead_letter_record.py.

-- list letters --
SELECT *
FROM event_store.dead_letters
WHERE letter_id > :after AND (:all OR (replayed_at IS NULL AND discarded_at IS NULL))
ORDER BY letter_id
LIMIT :limit;

-- select open --
-- The ids of the open dead letters of the kind :kind whose reason contains :saying, and which :poster has sent, a
-- digest or a subscription. A null parameter matches any value.
SELECT letter_id
FROM event_store.dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
  AND (CAST(:kind AS text) IS NULL OR kind = :kind)
  AND (CAST(:saying AS text) IS NULL OR strpos(reason, :saying) > 0)
  AND (CAST(:poster AS text) IS NULL OR kind <> 'poisoned' AND coalesce(poster, subscription) = :poster)
ORDER BY letter_id;

-- reasons --
-- The number of open dead letters for each reason: the 100 most frequent reasons, the most frequent first.
SELECT kind, reason, count(*) AS letters, min(received_at) AS first_at, max(received_at) AS last_at
FROM event_store.dead_letters
WHERE replayed_at IS NULL AND discarded_at IS NULL
GROUP BY kind, reason
ORDER BY letters DESC, kind, reason
LIMIT 100;

-- letter by id --
SELECT *
FROM event_store.dead_letters
WHERE letter_id = :letter_id;

-- due letters --
-- Letters about the future whose time has come.
SELECT *
FROM event_store.dead_letters
WHERE kind = 'future' AND replayed_at IS NULL AND discarded_at IS NULL AND due_at <= now()
ORDER BY due_at
LIMIT :limit;

-- owners --
SELECT owners, indexes FROM event_store.dead_letters WHERE letter_id = :letter_id;

-- time of arrivals --
-- With the lock of the append, every letter that arrived before is committed.
SELECT clock_timestamp() FROM pg_advisory_xact_lock(hashtextextended('event_store.append', 0));

-- without owners --
-- The letters that an earlier version wrote: up to 1,000, and no further one after 4 MiB of payloads.
SELECT n.letter_id, n.payload, n.attributes, n.indexes
FROM (
    SELECT l.*, sum(octet_length(l.payload)) OVER (ORDER BY l.letter_id) - octet_length(l.payload) AS bytes_before
    FROM (
        SELECT * FROM event_store.dead_letters
        WHERE owners IS NULL AND received_at < :before
        ORDER BY letter_id LIMIT 1000
    ) l
) n
WHERE n.bytes_before < 4 << 20
ORDER BY n.letter_id;

-- record owners --
SELECT event_store.record_owners(CAST(:letters AS jsonb));

-- mark replayed --
SELECT event_store.mark_replayed(:letter_id);

-- redact letters --
SELECT event_store.redact_letters(ARRAY[CAST(:letter_id AS bigint)]);

-- mark failed --
SELECT event_store.mark_failed(:letter_id, :kind, :reason);

-- take apart --
SELECT event_store.take_apart(:letter_id, CAST(:batch AS jsonb));

-- discard letters --
SELECT event_store.discard_letters(CAST(:letter_ids AS bigint[]), :reason) AS discarded;

-- unknown ids --
-- The given ids that no dead letter has.
SELECT u.id FROM unnest(CAST(:letter_ids AS bigint[])) AS u (id)
WHERE NOT EXISTS (SELECT FROM event_store.dead_letters l WHERE l.letter_id = u.id)
ORDER BY u.id;

-- page --
-- A page of dead letters, which begins after the given key. Open letters come before replayed letters, and in both
-- groups the newest letters come first. Discarded letters are left out. An empty page is one row that has only the
-- total count. A payload is cut to at most 16 KiB. If the first byte after the cut is a continuation byte (10xxxxxx),
-- the cut moves back by up to three bytes, to the beginning of the character.
WITH listed AS NOT MATERIALIZED (
    SELECT *
    FROM event_store.dead_letters
    WHERE discarded_at IS NULL AND (CAST(:kind AS text) IS NULL OR kind = :kind)
      AND (CAST(:reason AS text) IS NULL OR reason = :reason)
)
SELECT
    t.total_count,
    l.letter_id,
    l.kind,
    l.topic,
    l.subscription,
    l.message_id,
    l.index_in_message,
    l.event_id,
    l.event_type,
    l.reason,
    CASE WHEN octet_length(l.payload) <= 16384 THEN l.payload ELSE convert_from(substring(
        cut.bytes FOR 16384 - CASE
            WHEN get_byte(cut.bytes, 16384) & 192 <> 128 THEN 0
            WHEN get_byte(cut.bytes, 16383) & 192 <> 128 THEN 1
            WHEN get_byte(cut.bytes, 16382) & 192 <> 128 THEN 2
            ELSE 3 END), 'UTF8') END AS payload,
    l.attributes,
    l.published_at,
    l.received_at,
    l.due_at,
    l.replayed_at,
    l.discarded_at,
    l.discard_reason,
    l.indexes
FROM (SELECT count(*) AS total_count FROM listed) t
LEFT JOIN LATERAL (
    SELECT *
    FROM listed
    WHERE CAST(:after_letter_id AS bigint) IS NULL
       OR (replayed_at IS NOT NULL) > CAST(:after_is_replayed AS boolean)
       OR ((replayed_at IS NOT NULL) = CAST(:after_is_replayed AS boolean)
           AND (received_at, letter_id) < (CAST(:after_received_at AS timestamptz), CAST(:after_letter_id AS bigint)))
    ORDER BY (replayed_at IS NOT NULL), received_at DESC, letter_id DESC
    LIMIT CAST(:first AS bigint)
) l ON TRUE
LEFT JOIN LATERAL (SELECT convert_to(left(l.payload, 16385), 'UTF8') AS bytes) cut ON octet_length(l.payload) > 16384
ORDER BY (l.replayed_at IS NOT NULL), l.received_at DESC, l.letter_id DESC;
