-- The offsets of every zone, 2000 to 2060: data of the pinned tzdata package, no engine's own table.

-- table --
CREATE TABLE zone_rules (
    zone           text COLLATE "C" NOT NULL,
    starts_at      timestamptz NOT NULL,   -- -infinity for a zone's first
    utc_offset     interval    NOT NULL,
    PRIMARY KEY (zone, starts_at)
);
