-- What an operation acts on, for people. It follows from the arguments, from which an erasure removes the learner.
CREATE OR REPLACE VIEW operations.records AS
SELECT
    o.operation_id,
    CAST(o.operation_id AS text) AS id,
    o.number, o.version, o.kind, o.state, o.started_by, o.progress, o.error,
    CAST(o.result AS text) AS result,
    o.started_at, o.finished_at,
    (SELECT CAST(coalesce(json_agg(json_build_object('name', s.name, 'state', s.state, 'attempts', s.attempts,
            'error', s.error) ORDER BY s.place), '[]') AS text)
     FROM operations.steps s WHERE s.operation_id = o.operation_id) AS steps,
    o.subject, o.requesters,
    CASE
        WHEN o.kind IN ('ERASE_USER', 'EXPORT_USER') THEN coalesce(o.arguments ->> 'user_id', o.arguments ->> 'erased')
        WHEN jsonb_typeof(o.arguments -> 'letter_ids') = 'array'
            THEN CAST(jsonb_array_length(o.arguments -> 'letter_ids') AS text)
        WHEN o.kind = 'ARCHIVE' THEN '../' || (o.arguments ->> 'before')
        WHEN coalesce(o.arguments ->> 'first_day', o.arguments ->> 'last_day') IS NOT NULL
            THEN coalesce(o.arguments ->> 'first_day', '..') || '/' || coalesce(o.arguments ->> 'last_day', '..')
    END AS acts_on   -- periods as in ISO 8601: start/end, `..` if open
FROM operations.operations o;
