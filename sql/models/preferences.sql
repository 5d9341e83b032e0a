-- A learner's preference events, and the segments of constant shift that they cut time into.
-- local day of t = date(t + shift), with the shift of the last segment that starts at or before t.

-- table --
CREATE TABLE preferences (
    user_id        text COLLATE "C" NOT NULL,
    occurred_at    timestamptz NOT NULL,
    event_id       uuid        NOT NULL,
    timezone       text COLLATE "C",       -- null: as the preference event before
    day_start_hour smallint,               -- null: as the preference event before
    PRIMARY KEY (user_id, occurred_at, event_id)
);

CREATE TABLE segments (
    user_id   text COLLATE "C" NOT NULL,
    starts_at timestamptz NOT NULL,        -- -infinity for a learner's first
    shift     interval    NOT NULL,        -- zone's offset minus day_start_hour; no row at all: zero
    PRIMARY KEY (user_id, starts_at)
);
