-- The log of learners who study once a day at noon UTC, up to :until.

-- catalogue --
INSERT INTO event_store.events
SELECT head.position + n, gen_random_uuid(), 'item-item-' || n, 1, 'ItemPublished', jsonb_build_object(
        'item_id', 'item-' || n, 'headword', 'word ' || n,
        'cefr_level', (ARRAY['A1', 'A2', 'B1', 'B2', 'C1', 'C2'])[n % 6 + 1],
        'domains', (ARRAY['["R"]', '["W"]', '["R", "L"]', '["S"]', '["L", "S"]'])[n % 5 + 1]::jsonb),
    '{}', CAST(:until AS timestamptz) - interval '1000 days', CAST(:until AS timestamptz),
    event_store.shard_of('item-item-' || n)
FROM generate_series(1, CAST(:items AS int)) AS n
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS position FROM event_store.events) AS head;

-- log --
-- The answers of each day with their reviews; the first :fresh answers of a day are about new items.
INSERT INTO event_store.events
WITH sessions AS MATERIALIZED (
    SELECT user_id, d, CAST(md5(user_id || d) AS uuid) AS session_id,
        CAST(:until AS timestamptz) - make_interval(days => CAST(:days AS int) - 1 - d) AS at
    FROM (
        SELECT CAST(CAST(md5('student ' || n) AS uuid) AS text) AS user_id
        FROM generate_series(1, CAST(:learners AS int)) AS n
    ) AS l
    CROSS JOIN generate_series(0, CAST(:days AS int) - 1) AS d
),
answers AS MATERIALIZED (
    SELECT s.*, a, chance, s.at + make_interval(secs => 8 * a) AS answered_at, 'item-' || 1 + CASE
        WHEN a < CAST(:fresh AS int) THEN d * CAST(:fresh AS int) + a
        ELSE chance % ((d + 1) * CAST(:fresh AS int)) END AS item_id
    FROM sessions s
    CROSS JOIN generate_series(0, CAST(:answers AS int) - 1) AS a
    CROSS JOIN LATERAL (SELECT hashint8(a + 100 * d) & 1048575 AS chance) AS c
),
typed AS (
    SELECT user_id, CASE WHEN chance % 7 > 0 THEN 'CorrectAnswerGiven' ELSE 'IncorrectAnswerGiven' END AS type,
        answered_at AS at, 1 AS turn, jsonb_build_object(
            'user_id', user_id, 'session_id', session_id, 'item_id', item_id,
            'response_time_ms', 800 + chance % 8000) AS data
    FROM answers
    UNION ALL
    SELECT user_id, 'ReviewProcessed', answered_at, 2, jsonb_build_object('user_id', user_id, 'item_id', item_id,
        'easiness_factor', 2.5, 'new_interval', 1 + chance % 40)
    FROM answers
    UNION ALL
    SELECT user_id, 'SessionCompleted', at + interval '170 seconds', 3,
        jsonb_build_object(
            'session_id', session_id, 'user_id', user_id, 'score', 60 + d % 40, 'duration_seconds', 170 + d)
    FROM sessions
)
SELECT head.position + row_number() OVER (ORDER BY t.at, t.user_id, t.turn), gen_random_uuid(),
    'learner-' || t.user_id, row_number() OVER (PARTITION BY t.user_id ORDER BY t.at, t.turn),
    t.type, t.data, '{}', t.at, CAST(:until AS timestamptz), event_store.shard_of('learner-' || t.user_id)
FROM typed t
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS position FROM event_store.events) AS head
ORDER BY t.at, t.user_id, t.turn;

-- settle --
VACUUM (ANALYZE);
