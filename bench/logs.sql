-- The log of learners who study once a day, and its catalogue. Four of five learners live in a time zone with summer
-- time.

-- catalogue --
-- Each item is published.
INSERT INTO event_store.events
SELECT head.position + n, gen_random_uuid(), 'item-item-' || n, 1, 'ItemPublished', jsonb_build_object(
        'item_id', 'item-' || n, 'headword', 'word ' || n, 'language', (ARRAY['en', 'en-GB', 'de'])[n % 3 + 1],
        'cefr_level', (ARRAY['A1', 'A2', 'B1', 'B2', 'C1', 'C2'])[n % 6 + 1],
        'domains', (ARRAY['["R"]', '["W"]', '["R", "L"]', '["S"]', '["L", "S"]'])[n % 5 + 1]::jsonb),
    '{}', CAST(:until AS timestamptz) - interval '1000 days',
    CAST(:until AS timestamptz), event_store.shard_of('item-item-' || n)
FROM generate_series(1, CAST(:items AS int)) AS n
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS position FROM event_store.events) AS head;

-- log --
-- Sessions from 10:00 to 15:00 UTC, at which all these zones have the same local day: a start, answers with their
-- reviews, a completion. The first :fresh answers of a session are about new items, the others about known ones.
INSERT INTO event_store.events
WITH sessions AS MATERIALIZED (
    SELECT n AS nth, u.user_id, s AS session, CAST(md5(u.user_id || s) AS uuid) AS session_id,
        CAST(:since AS timestamptz) + make_interval(days => s, hours => 10, secs => n * 7919 % 18000) AS at
    FROM generate_series(1, CAST(:learners AS int)) AS n
    CROSS JOIN LATERAL (SELECT CAST(CAST(md5(:seed || ' learner ' || n) AS uuid) AS text) AS user_id) AS u
    CROSS JOIN generate_series(0, CAST(:sessions AS int) - 1) AS s
),
answers AS MATERIALIZED (
    SELECT s.*, chance % 7 > 0 AS correct, chance, s.at + make_interval(secs => 8 * a) AS answered_at,
        'item-' || 1 + (nth * 37 + CASE
            WHEN a < CAST(:fresh AS int) THEN session * CAST(:fresh AS int) + a
            ELSE chance % ((session + 1) * CAST(:fresh AS int)) END) % CAST(:items AS int) AS item_id
    FROM sessions s
    CROSS JOIN generate_series(0, CAST(:answers AS int) - 1) AS a
    CROSS JOIN LATERAL (SELECT hashint8(a + 1000 * session + 10000000 * CAST(nth AS bigint)) & 1048575 AS chance) AS c
),
typed AS (
    SELECT user_id, 'UserCreated' AS type, CAST(:since AS timestamptz) - interval '1 day' AS at, 0 AS turn,
        jsonb_build_object(
            'user_id', user_id, 'email', 'a***@example.com', 'day_start_hour', nth % 5,
            'timezone', (ARRAY[
                'Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Sydney', 'America/Santiago'
            ])[nth % 5 + 1]) AS data
    FROM sessions
    WHERE session = 0
    UNION ALL
    SELECT user_id, 'SessionStarted', at, 1,
        jsonb_build_object('session_id', session_id, 'user_id', user_id, 'item_count', CAST(:answers AS int))
    FROM sessions
    UNION ALL
    SELECT user_id, CASE WHEN correct THEN 'CorrectAnswerGiven' ELSE 'IncorrectAnswerGiven' END, answered_at, 2,
        jsonb_build_object('user_id', user_id, 'session_id', session_id, 'item_id', item_id,
            'response_time_ms', 800 + chance % 8000)
    FROM answers
    UNION ALL
    SELECT user_id, 'ReviewProcessed', answered_at, 3,
        jsonb_build_object('user_id', user_id, 'item_id', item_id, 'easiness_factor', 2.5,
            'new_interval', CASE WHEN correct THEN 1 + chance % 40 ELSE 1 END)
    FROM answers
    UNION ALL
    SELECT user_id, 'SessionCompleted', at + make_interval(secs => 10 + 8 * CAST(:answers AS int)), 4,
        jsonb_build_object('session_id', session_id, 'user_id', user_id, 'score', 60 + session % 40,
            'duration_seconds', 10 + 8 * CAST(:answers AS int))
    FROM sessions
)
SELECT head.position + row_number() OVER (ORDER BY t.at, t.user_id, t.turn), gen_random_uuid(),
    'learner-' || t.user_id, row_number() OVER (PARTITION BY t.user_id ORDER BY t.at, t.turn),
    t.type, t.data, '{}', t.at, t.at + interval '1 second', event_store.shard_of('learner-' || t.user_id)
FROM typed t
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS position FROM event_store.events) AS head
ORDER BY t.at, t.user_id, t.turn;

-- skip publication --
-- The publisher of a running system is never far behind. Otherwise, each request for the lag would count all events.
SELECT event_store.has_messages(CAST(s AS smallint), 'off') FROM generate_series(0, 15) s;

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
