-- Dead letters, as progress/deadletters.py runs them.

-- list --
SELECT letter_id, kind, topic, subscription, message_id, index_in_message, event_id, event_type,
    reason, payload, attributes, published_at, received_at, due_at, replayed_at, discarded_at, discard_reason
FROM event_store.dead_letters
WHERE letter_id > :after AND (:all OR (replayed_at IS NULL AND discarded_at IS NULL))
ORDER BY letter_id
LIMIT :limit;

-- one --
SELECT letter_id, kind, topic, subscription, message_id, index_in_message, event_id, event_type,
    reason, payload, attributes, published_at, received_at, due_at, replayed_at, discarded_at, discard_reason
FROM event_store.dead_letters
WHERE letter_id = :letter_id;

-- due --
SELECT letter_id, kind, topic, subscription, message_id, index_in_message, event_id, event_type,
    reason, payload, attributes, published_at, received_at, due_at, replayed_at, discarded_at, discard_reason
FROM event_store.dead_letters
WHERE kind = 'future' AND replayed_at IS NULL AND discarded_at IS NULL AND due_at <= now()
ORDER BY due_at
LIMIT :limit;

-- mark replayed --
SELECT event_store.mark_replayed(:letter_id);

-- mark failed --
SELECT event_store.mark_failed(:letter_id, :kind, :reason);

-- discard --
SELECT event_store.discard_letter(:letter_id, :reason);

-- take back --
SELECT event_store.take_back(:letter_id);
