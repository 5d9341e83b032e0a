-- Why the receiver at WEBHOOK_URL has not accepted the shard's next message: the last attempt's answer.
ALTER TABLE event_store.publisher_checkpoints ADD COLUMN IF NOT EXISTS answer text;
