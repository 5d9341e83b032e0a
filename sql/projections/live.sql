-- The live schemas of read models: those of event_store.read_models that exist and that these workers can fold.

-- live --
-- The schemas, and how many of them are read: those come first, the newest first. A schema is read if a query function
-- has said so within an hour (event_store.note_read).
SELECT coalesce(array_agg(r.schema ORDER BY r.is_read DESC, r.built_at DESC), '{}') AS schemas,
    count(*) FILTER (WHERE r.is_read) AS read
FROM (
    SELECT m.schema, m.built_at, coalesce(m.read_until > clock_timestamp() - interval '1 hour', false) AS is_read
    FROM event_store.read_models m
    WHERE m.interface <= {projections/interface version} AND to_regnamespace(m.schema) IS NOT NULL
) r

-- register --
INSERT INTO event_store.read_models (schema, fingerprint, interface)
VALUES (:schema, substr(:schema, 10, 12), {projections/interface version})
ON CONFLICT (schema) DO UPDATE SET interface = excluded.interface, built_at = excluded.built_at;

-- drop --
SELECT event_store.drop_read_models(:schema);
