-- What of the newest events of the log does not count, or counts wrongly, for support and administrators. See
-- tests/query/test_intake.py.

-- findings --
-- The sample (the newest 10,000 events, of the last seven days): its size and the recorded time of its oldest event, in
-- a row without a kind. Then the findings, in the order of the kinds: how many there are, and the recorded time and the
-- id of the newest event. `declared` are the declared types. The cost depends on the sample, not on the log.
WITH newest AS MATERIALIZED (
    SELECT * FROM event_store.events ORDER BY global_position DESC LIMIT 10000
), sample AS MATERIALIZED (
    SELECT n.global_position AS place, n.event_id, n.event_type, n.stream_id, n.occurred_at, n.created_at,
        coalesce(n.metadata ->> 'posted_by', '') = 'learner' AS is_own,
        f.kind, f.user_id, f.item_id, f.session_id, f.grade, f.response_ms
    FROM newest n
    CROSS JOIN LATERAL (SELECT * FROM facts f WHERE f.global_position = n.global_position OFFSET 0) f
    WHERE n.created_at >= CAST(:now AS timestamptz) - INTERVAL '7 days'
), counted AS MATERIALIZED (
    SELECT *
    FROM sample e
    WHERE e.event_type <> 'Erased' AND NOT EXISTS (
          SELECT FROM deleted_learners d WHERE d.user_id = e.user_id OFFSET 0)
      AND e.place <> ALL (ARRAY(SELECT p.global_position FROM poisoned_events p))
      AND NOT (is_retractable(e.event_type) AND {read_models/facts is_named})
), answers AS MATERIALIZED (
    SELECT *, grade >= 2 AS correct FROM counted WHERE grade IS NOT NULL
), studied AS MATERIALIZED (
    SELECT user_id, CASE WHEN kind <> 'completion' THEN item_id END AS item_id, max(place) AS place
    FROM counted
    WHERE kind IN ('answer', 'card', 'review', 'completion') AND (SELECT count(*) >= 20 FROM answers)
    GROUP BY 1, 2
), found (number, kind, name, count, place) AS (
    (SELECT 1, 'UNDECLARED_TYPE', event_type, count(*), max(place)
    FROM counted
    WHERE event_type <> ALL (CAST(:declared AS text[]))
    GROUP BY event_type
    ORDER BY count(*) DESC, event_type
    LIMIT 20)
    UNION ALL
    SELECT 2, 'REFUSED_BY_DECLARATION', event_type, count(*), max(place)
    FROM counted
    WHERE event_type = ANY (:declared) AND kind IS NULL
    GROUP BY event_type
    UNION ALL
    SELECT 3, 'UNDESCRIBED_ITEM', NULL, count(*), max(place)
    FROM (
        SELECT s.item_id, max(s.place) AS place
        FROM studied s
        WHERE s.item_id IS NOT NULL
        GROUP BY s.item_id
        HAVING NOT bool_or(EXISTS (
            SELECT FROM own_words w
            WHERE w.user_id = s.user_id AND w.item_id = s.item_id AND w.headword <> '' OFFSET 0))
    ) s
    WHERE NOT EXISTS (
        SELECT FROM items i WHERE i.item_id = s.item_id AND i.described_at IS NOT NULL OFFSET 0)
    UNION ALL
    SELECT 4, 'NO_ZONE', NULL, count(*), max(place)
    FROM (SELECT user_id, max(place) AS place FROM studied GROUP BY user_id) s
    WHERE NOT EXISTS (SELECT FROM preferences p WHERE p.user_id = s.user_id AND p.timezone IS NOT NULL OFFSET 0)
    UNION ALL
    SELECT 5, 'NO_REVIEW', NULL, count(*), max(place)
    FROM (SELECT user_id, max(place) AS place FROM answers GROUP BY user_id HAVING count(*) >= 20) s
    WHERE NOT EXISTS (SELECT FROM reviews r WHERE r.user_id = s.user_id OFFSET 0)
    UNION ALL
    SELECT 6, 'SESSION_WITHOUT_ANSWERS', NULL, count(*), max(place)
    FROM (
        SELECT user_id, session_id, max(place) AS place
        FROM counted
        WHERE kind = 'completion' AND created_at <= CAST(:now AS timestamptz) - INTERVAL '1 hour'
          AND user_id IN (SELECT a.user_id FROM answers a)
        GROUP BY user_id, session_id
    ) s
    WHERE NOT EXISTS (   -- a retracted answer is one, too
        SELECT FROM learner_sessions l
        WHERE l.user_id = s.user_id AND l.session_id = s.session_id AND (l.answers > 0 OR EXISTS (
            SELECT FROM session_facts f
            WHERE f.user_id = s.user_id AND f.session_id = s.session_id AND f.kind = 'answer' OFFSET 0))
        OFFSET 0)
    UNION ALL
    SELECT 7, 'ONE_INSTANT', NULL, CAST(sum(answers) AS bigint), max(place)
    FROM (
        SELECT count(*) AS answers, max(place) AS place
        FROM answers
        GROUP BY user_id, occurred_at
        HAVING count(*) >= 10
    ) a
    UNION ALL
    SELECT 8, 'TIME_IN_SECONDS', CASE WHEN is_own THEN 'learner' END, count(*) FILTER (WHERE response_ms < 100),
        max(place) FILTER (WHERE response_ms < 100)
    FROM answers
    GROUP BY is_own
    HAVING count(response_ms) >= 50 AND 10 * count(*) FILTER (WHERE response_ms < 100) >= 9 * count(response_ms)
    UNION ALL
    SELECT 9, 'TWICE', NULL, count(*), max(place)
    FROM (
        SELECT is_own, place, count(*) FILTER (WHERE NOT is_own) OVER (
            PARTITION BY user_id, item_id, correct
            ORDER BY occurred_at
            RANGE BETWEEN INTERVAL '2 seconds' PRECEDING AND INTERVAL '2 seconds' FOLLOWING) AS others
        FROM answers
    ) a
    WHERE is_own AND others > 0
    UNION ALL
    SELECT 10, 'ALIKE_LEARNERS', NULL, CAST(sum(learners - 1) AS bigint), max(place)
    FROM (
        SELECT count(DISTINCT user_id) AS learners, max(place) AS place
        FROM counted
        WHERE user_id IS NOT NULL
        GROUP BY event_store.fold_case(regexp_replace(user_id, format('^[%1$s]+|[%1$s]+$',
            {operations/export_user spaces}), '', 'g'))
        HAVING count(DISTINCT user_id) > 1
    ) l
    UNION ALL
    SELECT 11, 'NO_EFFECT', NULL, count(*), max(e.place)
    FROM (SELECT *, place AS global_position FROM counted) e
    WHERE e.kind = 'retraction' AND e.created_at <= CAST(:now AS timestamptz) - INTERVAL '1 hour'
      AND {read_models/facts is_vain}
), waiting AS (
    SELECT event_id, received_at
    FROM event_store.pending
    WHERE received_at <= CAST(:now AS timestamptz) - INTERVAL '1 hour'
    ORDER BY received_at DESC, event_id DESC
    LIMIT 10000
)
SELECT kind, name, count, newest, example
FROM (
    SELECT 0 AS number, NULL AS kind, NULL AS name, count(*) AS count, min(created_at) AS newest, NULL AS example
    FROM sample
    UNION ALL
    SELECT f.number, f.kind, f.name, f.count, s.created_at, CAST(s.event_id AS text)
    FROM found f
    JOIN sample s ON s.place = f.place
    UNION ALL
    SELECT 12, 'PENDING', NULL, count(*), max(received_at), (array_agg(CAST(event_id AS text)))[1]
    FROM waiting
    HAVING count(*) > 0
) f
ORDER BY number, CASE WHEN number <= 2 THEN -count END, name NULLS FIRST;
