-- A log after months of study. Each learner has one session a day; four of five learners live in a time zone with
-- summer time. Each item is answered ten times, at growing intervals.

-- log --
-- Sessions of 42 events: a start, twenty answers with their reviews, a completion.
INSERT INTO event_store.events
WITH learners AS MATERIALIZED (
    SELECT n AS nth, CAST(CAST(md5(:seed || ' learner ' || n) AS uuid) AS text) AS user_id, n * 7919 % 86400 AS clock
    FROM generate_series(1, CAST(:learners AS int)) AS n
),
sessions AS MATERIALIZED (
    SELECT l.nth, l.user_id, s AS session, CAST(md5(l.user_id || s) AS uuid) AS session_id,
        CAST(:since AS timestamptz) + make_interval(days => s, secs => l.clock + random() * 3600) AS at
    FROM learners l
    CROSS JOIN generate_series(0, CAST(:sessions AS int) - 1) AS s
),
answers AS MATERIALIZED (
    SELECT s.*, a, random() < 0.85 AS correct,
        'item-' || (
            s.nth * 37 + 2 * ((s.session - ago + CAST(:sessions AS int)) % CAST(:sessions AS int)) + a % 2
        ) % 5000 AS item_id,
        s.at + make_interval(secs => 8 * a + 3 * random()) AS answered_at
    FROM sessions s
    CROSS JOIN generate_series(0, 19) AS a
    CROSS JOIN LATERAL (SELECT (ARRAY[0, 1, 2, 3, 4, 6, 8, 11, 14, 18])[a / 2 + 1] AS ago) AS d
),
typed AS (
    SELECT user_id, 'UserCreated' AS type, CAST(:since AS timestamptz) - interval '1 day' AS at, 0 AS turn,
        jsonb_build_object(
            'user_id', user_id, 'email', 'a***@example.com', 'day_start_hour', nth % 5,
            'timezone', (ARRAY[
                'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Sydney', 'America/Santiago'
            ])[nth % 5 + 1]) AS data
    FROM learners
    UNION ALL
    SELECT user_id, 'SessionStarted', at, 1,
        jsonb_build_object('session_id', session_id, 'user_id', user_id, 'item_count', 20)
    FROM sessions
    UNION ALL
    SELECT user_id, CASE WHEN correct THEN 'CorrectAnswerGiven' ELSE 'IncorrectAnswerGiven' END, answered_at, 2,
        jsonb_build_object('user_id', user_id, 'session_id', session_id, 'item_id', item_id,
            'response_time_ms', 800 + CAST(8000 * random() AS int))
    FROM answers
    UNION ALL
    SELECT user_id, 'ReviewProcessed', answered_at, 3,
        jsonb_build_object('user_id', user_id, 'item_id', item_id, 'easiness_factor', 2.5,
            'new_interval', CASE WHEN correct THEN (ARRAY[1, 1, 2, 3, 5, 8, 12, 16, 21, 30])[a / 2 + 1] ELSE 1 END)
    FROM answers
    UNION ALL
    SELECT user_id, 'SessionCompleted', at + interval '170 seconds', 4,
        jsonb_build_object('session_id', session_id, 'user_id', user_id, 'score', 85, 'duration_seconds', 170)
    FROM sessions
),
head AS MATERIALIZED (
    SELECT coalesce(max(global_position), 0) AS position FROM event_store.events
)
SELECT head.position + row_number() OVER (ORDER BY t.at, t.user_id, t.turn), gen_random_uuid(),
    'learner-' || t.user_id, row_number() OVER (PARTITION BY t.user_id ORDER BY t.at, t.turn),
    t.type, t.data, '{}', t.at, timestamptz '2026-01-01 00:00Z', event_store.shard_of('learner-' || t.user_id)
FROM typed t CROSS JOIN head
ORDER BY t.at, t.user_id, t.turn;

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

-- studies --
-- The answers of each day at noon UTC, up to :until, with their reviews; the first :fresh answers of a day are about
-- new items.
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

-- learners --
SELECT substr(stream_id, 9) FROM event_store.events
WHERE stream_id LIKE 'learner-%' GROUP BY stream_id HAVING count(*) >= :events
ORDER BY count(*) DESC, stream_id;

-- items --
SELECT DISTINCT event_data ->> 'item_id' FROM event_store.events
WHERE stream_id = 'learner-' || CAST(:learner AS text) AND stream_version > :after AND stream_version <= :until
  AND event_data ? 'item_id'
ORDER BY 1 LIMIT :limit;
