-- The UTC offsets of every zone for the years 2000 to 2099. They come from the pinned tzdata package, because
-- PostgreSQL's own tables may differ.

-- table --
CREATE TABLE zone_rules (
    zone       text COLLATE "C" NOT NULL,
    starts_at  timestamptz NOT NULL,       -- -infinity for a zone's first rule
    ends_at    timestamptz NOT NULL,       -- exclusive; infinity for a zone's last rule
    utc_offset interval    NOT NULL,       -- positive if ahead of UTC
    PRIMARY KEY (zone, starts_at)
);

-- fill --
INSERT INTO zone_rules
SELECT zone, coalesce(to_timestamp(starts_at), '-infinity'),
    coalesce(lead(to_timestamp(starts_at)) OVER (PARTITION BY zone ORDER BY starts_at NULLS FIRST), 'infinity'),
    make_interval(secs => utc_offset)
FROM jsonb_to_recordset(:rules) AS r (zone text, starts_at bigint, utc_offset bigint);
