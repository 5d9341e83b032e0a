-- Definitions of a log in DuckDB. PostgreSQL provides the log, and receives the rows that DuckDB computed.

-- read log --
-- The whole log as one JSON text. PostgreSQL runs this block.
SELECT CAST(json_build_object(
    'events', coalesce((
        SELECT json_agg(json_build_object(
            'global_position', e.global_position, 'event_id', e.event_id, 'stream_id', e.stream_id,
            'event_type', e.event_type, 'event_data', CAST(e.event_data AS text),
            'metadata', CAST(e.metadata AS text),
            'occurred_us', CAST(extract(epoch FROM e.occurred_at) * 1000000 AS bigint),
            'created_us', CAST(extract(epoch FROM e.created_at) * 1000000 AS bigint)))
        FROM event_store.events e), '[]'),
    'poisoned', ARRAY(SELECT p.global_position FROM poisoned_events p)) AS text);

-- delivered --
-- DuckDB runs this block and the next two.
CREATE TEMPORARY TABLE delivered AS
SELECT unnest(from_json(CAST($log AS json), '{
    "poisoned": ["BIGINT"],
    "events": [{
        "global_position": "BIGINT", "event_id": "UUID", "stream_id": "VARCHAR", "event_type": "VARCHAR",
        "event_data": "VARCHAR", "metadata": "VARCHAR", "occurred_us": "BIGINT", "created_us": "BIGINT"}]}'));

-- log --
-- The relations that the folds read.
CREATE TEMPORARY TABLE poisoned_events AS SELECT unnest(poisoned) AS global_position FROM delivered;
CREATE TEMPORARY TABLE log AS
SELECT e.* EXCLUDE (occurred_us, created_us),
    make_timestamptz(e.occurred_us) AS occurred_at, make_timestamptz(e.created_us) AS created_at
FROM (SELECT unnest(events, max_depth := 2) FROM delivered) e;

-- rows --
SELECT '{table}', CAST(coalesce(to_json(list(t)), '[]') AS VARCHAR) FROM {table} t

-- replace --
-- PostgreSQL runs this block.
DELETE FROM pg_temp.{table};
INSERT INTO pg_temp.{table}
SELECT * FROM json_populate_recordset(CAST(NULL AS pg_temp.{table}), {rows});

-- next states --
-- DuckDB runs this block.
SELECT {read_models/memory rounded}
FROM (
    SELECT place, {read_models/memory next_stability} AS s, {read_models/memory next_difficulty} AS d
    FROM (
        SELECT generate_subscripts($gaps, 1) AS place, unnest($gaps) AS t,
            unnest($grades) AS g,
            exp(unnest($stabilities) / {read_models/memory unit}) AS s,
            unnest($difficulties) / {read_models/memory unit} AS d
    )
)
ORDER BY place
