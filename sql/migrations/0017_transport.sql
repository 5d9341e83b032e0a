-- The queue of the transport that stands for Pub/Sub under `progress serve` and `progress up`. Elsewhere it is empty.
-- It is in no dump: a load of a dump finds it and leaves it as it is.
CREATE SCHEMA IF NOT EXISTS transport;

CREATE TABLE IF NOT EXISTS transport.topics (
    name text COLLATE "C" PRIMARY KEY
);

CREATE TABLE IF NOT EXISTS transport.subscriptions (
    name       text COLLATE "C" PRIMARY KEY,
    definition text NOT NULL               -- JSON, see progress/serve/transport/broker.py
);

-- A message that a subscription has yet to deliver, or whose delivery was given up (is_dead).
CREATE TABLE IF NOT EXISTS transport.queue (
    subscription text    COLLATE "C" NOT NULL,
    message_id   text    COLLATE "C" NOT NULL,
    message      bytea   NOT NULL,         -- its data
    attributes   text    NOT NULL DEFAULT '{}',   -- JSON
    ordering_key text    NOT NULL DEFAULT '',
    published_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    attempts     integer NOT NULL DEFAULT 0,
    is_dead      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (subscription, message_id)
);

-- Statistics would keep samples of what an erasure has taken out.
ALTER TABLE transport.queue ALTER COLUMN message SET STATISTICS 0, ALTER COLUMN attributes SET STATISTICS 0,
    ALTER COLUMN ordering_key SET STATISTICS 0;
