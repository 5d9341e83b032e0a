-- One row per learner and ISO week, from the week of the learner's earliest day with an answer to that of the latest:
-- how many items were answered up to the Sunday, and how many of them the learner then probably still knew. The batch
-- job folds this table every five minutes.

-- table --
CREATE TABLE knowledge_weeks (
    user_id  text COLLATE "C" NOT NULL,
    monday   date   NOT NULL,
    items    bigint NOT NULL,
    expected bigint NOT NULL,              -- sum of the estimated recalls on the Sunday, in millionths
    PRIMARY KEY (user_id, monday)
);

-- fold --
-- A week changes only if an answer up to its Sunday changes. Weeks after the stored ones are new. If the newest answer
-- is retracted, the weeks after that of the answer before vanish.
WITH remembered_answers AS NOT MATERIALIZED (
    SELECT * FROM batch_answers            -- filled by the fold of calibration_days
), answered_weeks AS MATERIALIZED (
    SELECT w.user_id, w.last_monday,
        greatest(w.first_monday, least(b.changed_week, coalesce(s.last_monday + 7, '-infinity'))) AS first_monday
    FROM (
        {projections/definitions answered_weeks}
    ) w
    JOIN batch_learners b ON b.user_id = w.user_id AND b.changed_week < 'infinity'
    CROSS JOIN LATERAL (SELECT max(k.monday) AS last_monday FROM knowledge_weeks k WHERE k.user_id = w.user_id) s
), returned_answers AS MATERIALIZED (
    {projections/definitions returned_answers}
), remembered_returns AS MATERIALIZED (
    {remembered_returns}
), known AS MATERIALIZED (
    {read_models/knowledge_weeks known}
), gone AS (
    DELETE FROM knowledge_weeks t
    USING batch_learners b
    LEFT JOIN answered_weeks w ON w.user_id = b.user_id
    WHERE t.user_id = b.user_id AND t.monday >= least(b.changed_week, w.last_monday + 7)
      AND NOT EXISTS (SELECT FROM known k WHERE k.user_id = t.user_id AND k.monday = t.monday)
)
INSERT INTO knowledge_weeks AS t
SELECT user_id, monday, items, expected
FROM known
ORDER BY user_id, monday
ON CONFLICT (user_id, monday) DO UPDATE SET items = excluded.items, expected = excluded.expected
WHERE t IS DISTINCT FROM excluded;

-- definition --
SELECT user_id, monday, items, expected
FROM (
{read_models/knowledge_weeks known}
) k

-- known --
-- An item's state at the end of a week is that after the last of its answers so far. `newest_day` ascends, so a state
-- lasts until the week of the next answer's newest day. The exceptions are in remembered_returns. The sum is of
-- integers, so that its order does not matter.
SELECT user_id, monday, count(*) AS items,
    CAST(floor(CAST(sum(recall) AS double precision) / 1000000 + 0.5) AS bigint) AS expected
FROM (
    SELECT s.user_id, s.monday,
        CAST(floor(1000000000000 * {read_models/memory estimated_recall} + 0.5) AS bigint) AS recall
    FROM (
        SELECT k.user_id, k.item_id, k.monday, k.stability, k.last_answered_on, k.last_correct
        FROM (
            SELECT a.user_id, a.item_id, greatest(a.monday, w.first_monday) + CAST(n.days AS integer) AS monday,
                a.stability, a.day AS last_answered_on, a.correct AS last_correct
            FROM (
                SELECT user_id, item_id, stability, day, correct, monday, lead(monday) OVER later AS next_monday
                FROM (
                    SELECT *, newest_day - CAST((newest_day - DATE '1990-01-01') % 7 AS integer) AS monday
                    FROM remembered_answers
                ) r
                WINDOW later AS (PARTITION BY user_id, item_id ORDER BY occurred_at, event_id)
            ) a
            JOIN answered_weeks w ON w.user_id = a.user_id
            CROSS JOIN LATERAL generate_series(
                0, coalesce(a.next_monday - 7, w.last_monday) - greatest(a.monday, w.first_monday), 7) AS n (days)
        ) k
        WHERE NOT EXISTS (
            SELECT 1 FROM remembered_returns r
            WHERE r.user_id = k.user_id AND r.item_id = k.item_id AND r.monday = k.monday)
        UNION ALL
        SELECT user_id, item_id, monday, stability, day, correct
        FROM remembered_returns
        WHERE is_latest
    ) s
    CROSS JOIN LATERAL (SELECT s.monday + 6 AS day) moment
) k
GROUP BY user_id, monday

-- curve --
-- The weeks whose Monday is in the range, oldest first, each up to its Sunday; the current week up to today. The weeks
-- up to that of the newest day with an answer are stored. The later ones follow from the states, and so does the
-- current one, which counts answers ahead of today, too, if the learner's first week has begun.
WITH today AS (
    SELECT local.day, local.day - CAST(extract(isodow FROM local.day) AS integer) + 1 AS monday
    FROM ({read_models/preferences today}) AS local
),
remembered AS MATERIALIZED (
    SELECT s.stability, s.last_answered_on, s.last_correct
    FROM item_stats s
    WHERE s.user_id = :user_id AND s.stability IS NOT NULL
),
ends AS (
    SELECT today.monday, today.day FROM today
    WHERE EXISTS (SELECT FROM item_days d WHERE d.user_id = :user_id AND d.day < today.monday + 7)
    UNION ALL
    SELECT m.monday, m.monday + 6
    FROM today
    CROSS JOIN (SELECT max(last_answered_on) AS day FROM remembered) AS newest
    CROSS JOIN LATERAL (
        SELECT CAST(m AS date) AS monday
        FROM generate_series(
            CAST(newest.day - CAST(extract(isodow FROM newest.day) AS integer) + 8 AS timestamp),
            CAST(today.monday - 7 AS timestamp), INTERVAL '7 days') AS m
    ) AS m
)
SELECT w.monday AS start, w.monday + 6 AS "end", w.items,
    floor((w.expected + 50000) / CAST(100000 AS double precision)) / 10 AS expected
FROM knowledge_weeks w
CROSS JOIN today
CROSS JOIN (SELECT max(last_answered_on) AS day FROM remembered) AS newest
WHERE w.user_id = :user_id AND w.monday < today.monday AND w.monday <= newest.day
  AND w.monday BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
UNION ALL
SELECT moment.monday, moment.day, count(*), floor(10 * sum({read_models/memory estimated_recall}) + 0.5) / 10
FROM ends AS moment
CROSS JOIN remembered s
WHERE moment.monday BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
GROUP BY moment.monday, moment.day
ORDER BY start;
