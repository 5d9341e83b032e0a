-- Learners of one shard who complete a session on each day, in one time zone.

-- learners --
CREATE TABLE public.students AS
SELECT 'student-' || n AS user_id
FROM generate_series(1, 40 * CAST(:learners AS int)) AS n
WHERE event_store.shard_of('learner-student-' || n) = 0
LIMIT :learners;

-- complete --
-- One more completed session of each learner on each of these days.
INSERT INTO event_store.events
SELECT head.position + row_number() OVER (ORDER BY d.day, s.user_id), gen_random_uuid(), 'learner-' || s.user_id,
    head.position + row_number() OVER (ORDER BY d.day, s.user_id), 'SessionCompleted',
    jsonb_build_object('session_id', gen_random_uuid(), 'user_id', s.user_id, 'score', 80, 'duration_seconds', 60),
    '{}', t.at, t.at, 0
FROM public.students s
CROSS JOIN generate_series(CAST(:first AS int), CAST(:last AS int)) AS d (day)
CROSS JOIN LATERAL (SELECT timestamptz '2020-01-01 12:00Z' + d.day * interval '1 day' AS at) t
CROSS JOIN (SELECT coalesce(max(global_position), 0) AS position FROM event_store.events) AS head;

-- ids --
SELECT CAST(event_id AS text)
FROM event_store.events
WHERE stream_id = 'learner-' || :learner AND event_type = :type
ORDER BY stream_version
LIMIT CAST(:count AS int)
OFFSET CAST(:first AS int);
