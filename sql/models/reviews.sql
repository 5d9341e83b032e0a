-- Every review, in the order of its time: a lapse is a pair of neighbours.

-- table --
CREATE TABLE reviews (
    user_id       text COLLATE "C" NOT NULL,
    item_id       text COLLATE "C" NOT NULL,
    occurred_at   timestamptz NOT NULL,
    event_id      uuid        NOT NULL,
    interval_days bigint      NOT NULL,
    PRIMARY KEY (user_id, item_id, occurred_at, event_id)
);
