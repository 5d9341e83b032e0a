-- The archive of a simulated log. PostgreSQL runs the first two blocks, whose parameters begin with a colon; DuckDB
-- runs the others.

-- stored events --
-- The JSON of each event as the log stores it, and the event's time in microseconds since 1970.
SELECT n.event ->> 'event_type', CAST(n.event -> 'data' AS text), CAST(n.event -> 'metadata' AS text),
    n.event ->> 'event_id', n.event ->> 'stream_id', n.event ->> 'session_id', n.event -> 'data' ->> 'item_id',
    CAST(extract(epoch FROM CAST(n.event ->> 'occurred_at' AS timestamptz)) * 1000000 AS bigint),
    event_store.shard_of(n.event ->> 'stream_id')
FROM jsonb_array_elements(CAST(:events AS jsonb)) WITH ORDINALITY AS n (event, nth)
ORDER BY n.nth;

-- learners --
-- Each learner with the bucket and the shard. DuckDB cannot compute these two.
SELECT l.nth, l.user_id,
    hashtextextended('learner-' || l.user_id COLLATE "C", 0) & (CAST(:buckets AS bigint) - 1),
    event_store.shard_of('learner-' || l.user_id)
FROM (
    SELECT n AS nth, CAST(CAST(md5('learner ' || n) AS uuid) AS text) AS user_id
    FROM generate_series(0, CAST(:learners AS int) - 1) n
) l
ORDER BY l.nth;

-- read template --
-- The real learner's events, numbered by `turn`: event 1 is `UserCreated`, all others belong to sessions.
CREATE TABLE template AS
SELECT * FROM read_csv($csv, auto_detect = false, header = false, quote = '"', escape = '"', columns = {
    'turn': 'BIGINT', 'session': 'INTEGER', 'event_type': 'VARCHAR', 'event_data': 'VARCHAR', 'metadata': 'VARCHAR',
    'card': 'INTEGER', 'at_us': 'BIGINT'});

-- read catalogue --
CREATE TABLE catalogue AS
SELECT * FROM read_csv($csv, auto_detect = false, header = false, quote = '"', escape = '"', columns = {
    'global_position': 'BIGINT', 'event_id': 'UUID', 'stream_id': 'VARCHAR', 'event_type': 'VARCHAR',
    'event_data': 'VARCHAR', 'metadata': 'VARCHAR', 'at_us': 'BIGINT', 'shard': 'SMALLINT', 'item_id': 'VARCHAR'});

-- read learners --
CREATE TABLE learners AS
SELECT * FROM read_csv($csv, auto_detect = false, header = false, quote = '"', escape = '"', columns = {
    'nth': 'BIGINT', 'user_id': 'VARCHAR', 'bucket': 'INTEGER', 'shard': 'SMALLINT'});

-- template sessions --
-- The sessions in the first $days days of the real log.
CREATE TABLE template_sessions AS
SELECT t.session, min(t.turn) AS first_turn, count(*) AS events, max(t.at_us) AS ends_us
FROM template t
GROUP BY t.session
HAVING max(t.at_us) <= (SELECT min(at_us) FROM template) + $days * 86400000000;

-- events of a learner --
-- The mean number of events per learner, if learners join evenly over the time of the template's sessions.
SELECT sum(t.events * (last.us - t.ends_us) / (last.us - first.us))
FROM template_sessions t
CROSS JOIN (SELECT max(ends_us) AS us FROM template_sessions) last
CROSS JOIN (SELECT min(at_us) AS us FROM template) first;

-- sessions --
-- Each learner's sessions until the log ends. A session's events have consecutive positions after `position_before`.
CREATE TABLE sessions AS
WITH log AS (
    SELECT min(t.at_us) AS begins_us, (SELECT max(ends_us) FROM template_sessions) AS ends_us FROM template t
), joined AS (
    -- The multiplier is 2^32 divided by the golden ratio. It spreads the learners evenly over the time.
    SELECT l.*, CAST((l.nth * 2654435769 % 4294967296) / 4294967296 * (g.ends_us - g.begins_us) AS BIGINT) AS later_us,
        (l.nth * 37) % (SELECT count(*) FROM catalogue) AS first_item,
        ['Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Sydney', 'America/Santiago'][l.nth % 5 + 1]
            AS timezone
    FROM learners l
    CROSS JOIN log g
)
SELECT j.user_id, j.bucket, j.shard, j.later_us, j.first_item, j.timezone, t.session, t.first_turn, t.events,
    CAST(CAST(md5(j.user_id || ' session ' || t.session) AS UUID) AS VARCHAR) AS session_id,
    t.ends_us + j.later_us + 1000000 AS recorded_us,
    (SELECT count(*) FROM catalogue)
        + CAST(sum(t.events) OVER until_this AS BIGINT) - t.events AS position_before
FROM joined j
CROSS JOIN log g
JOIN template_sessions t ON t.ends_us + j.later_us <= g.ends_us
WINDOW until_this AS (ORDER BY t.ends_us + j.later_us, j.nth, t.session ROWS UNBOUNDED PRECEDING)
QUALIFY position_before < $events;

-- items --
-- The catalogue's items, listed twice and numbered by `place` from 0. In a simulated learner's events, the item at
-- place `first_item + card` replaces the real learner's item number `card`.
CREATE TABLE items AS
SELECT c.global_position - 1 + n.lap * (SELECT count(*) FROM catalogue) AS place, c.item_id
FROM catalogue c
CROSS JOIN (VALUES (0), (1)) AS n (lap);

-- events --
CREATE VIEW events AS
SELECT s.bucket, s.position_before + 1 AS first_of_session, s.position_before + s.events AS last_of_session,
    s.position_before + 1 + t.turn - s.first_turn AS global_position,
    CAST(md5(s.user_id || ' ' || t.turn) AS UUID) AS event_id,
    'learner-' || s.user_id AS stream_id, t.turn AS stream_version, t.event_type,
    replace(replace(replace(replace(t.event_data,
        '<item>', coalesce(i.item_id, '')), '<session>', s.session_id), '<learner>', s.user_id), '<zone>', s.timezone)
        AS event_data,
    replace(replace(replace(t.metadata, '<session>', s.session_id), '<learner>', s.user_id),
        '<cause>', CAST(CAST(md5(s.user_id || ' ' || (t.turn - 1)) AS UUID) AS VARCHAR)) AS metadata,
    make_timestamptz(t.at_us + s.later_us) AS occurred_at, make_timestamptz(s.recorded_us) AS created_at, s.shard
FROM sessions s
JOIN template t ON t.session = s.session
LEFT JOIN items i ON i.place = t.card + s.first_item
UNION ALL
SELECT -1, c.global_position, c.global_position, c.global_position, c.event_id, c.stream_id, 1, c.event_type,
    c.event_data, c.metadata, make_timestamptz(c.at_us), make_timestamptz(c.at_us), c.shard
FROM catalogue c;

-- end --
-- The position at which the last session ends. It may be greater than $events, because the log may end within this
-- session.
SELECT max(position_before + events) FROM sessions;

-- write --
COPY (
    SELECT global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
        occurred_at, created_at, shard
    FROM events
    WHERE bucket = $bucket AND first_of_session <= $last AND last_of_session >= $first
      AND global_position BETWEEN $first AND $last
    ORDER BY stream_id, stream_version
) TO $target (FORMAT parquet, COMPRESSION zstd);

-- recorded times --
-- The times when the first and the last event of the range were recorded, in microseconds since 1970.
SELECT min(r.us), max(r.us)
FROM (
    SELECT at_us AS us FROM catalogue WHERE global_position BETWEEN $first AND $last
    UNION ALL
    SELECT recorded_us FROM sessions WHERE position_before < $last AND position_before + events >= $first
) r;

-- checkpoints --
-- The positions of the last event of each shard, and of the first event of the log, which identifies the log.
SELECT 1
UNION
SELECT max(p.position)
FROM (
    SELECT shard, global_position AS position FROM catalogue
    UNION ALL
    SELECT shard, least(position_before + events, $events) FROM sessions
) p
GROUP BY p.shard
ORDER BY 1;

-- write event --
COPY (
    SELECT global_position, event_id, stream_id, stream_version, event_type, event_data, metadata,
        occurred_at, created_at, shard
    FROM events
    WHERE first_of_session <= $position AND last_of_session >= $position AND global_position = $position
) TO $csv (FORMAT csv, HEADER false);

