-- One row per learner and item that was answered or reviewed.
-- Also held by: operations/test_export_user.py.

-- table --
CREATE TABLE item_stats (
    user_id           text COLLATE "C" NOT NULL,
    item_id           text COLLATE "C" NOT NULL,
    answers           bigint NOT NULL,
    correct_answers   bigint NOT NULL,
    response_ms       bigint NOT NULL,
    timed_answers     bigint NOT NULL,
    first_answered_at timestamptz,
    first_answered_on date,                -- local day of the first answer
    last_answered_at  timestamptz,
    first_correct_at  timestamptz,
    first_correct_on  date,                -- local day of the first correct answer
    first_mastered_at timestamptz,         -- time of the first review with an interval of 7 days or more
    first_mastered_on date,                -- local day of this review
    interval_days     bigint,
    easiness_factor   double precision,
    reviewed_at       timestamptz,
    review_id         uuid,                -- id of the event of the latest review
    sent_due_at       timestamptz,         -- time of the next review, if the latest was a CardReviewed
    lapses            bigint NOT NULL,
    reviewed_on       date,                -- local day of the latest review
    asked_at          timestamptz,         -- time of the first answer after the latest review, or of the first answer
    asked_id          uuid,                -- id of the event of this answer
    asked_on          date,                -- local day of this answer
    asked_grade       int,                 -- the grade of this answer, 1 (again) to 4 (easy)
    stability         bigint,
    difficulty        bigint,
    last_answered_on  date,                -- local day of the latest answer
    last_correct      boolean,             -- whether the latest answer was correct
    PRIMARY KEY (user_id, item_id)
) WITH (fillfactor = 70);

-- The temporary tables copy this storage mode, which avoids TOAST tables (see window_shape in facts.sql).
ALTER TABLE item_stats ALTER user_id SET STORAGE PLAIN, ALTER item_id SET STORAGE PLAIN;

-- With this index, the batch job finds the learners of an item whose description changed.
CREATE INDEX item_stats_by_item ON item_stats (item_id, user_id);

-- columns --
user_id, item_id, answers, correct_answers, response_ms, timed_answers, first_answered_at, first_answered_on,
last_answered_at, first_correct_at, first_correct_on, first_mastered_at, first_mastered_on,
interval_days, easiness_factor, reviewed_at, review_id, sent_due_at, lapses,
reviewed_on, asked_at, asked_id, asked_on, asked_grade, stability, difficulty, last_answered_on, last_correct

-- window --
-- The new rows of the items in the window, with the former values that other folds compare.
CREATE TEMPORARY TABLE window_items (
    LIKE item_stats INCLUDING STORAGE,
    place tid,                             -- of the former row; null: the item is new
    had_answered_on date, had_correct_on date, had_mastered_on date, had_interval_days bigint,
    had_answers bigint, had_correct_answers bigint, had_response_ms bigint, had_timed_answers bigint, had_lapses bigint,
    had_first_answered_at timestamptz, had_last_answered_at timestamptz,
    -- An item is out of order if one of its new events does not follow its latest stored event, if a new event follows
    -- a new review, or if an answer is retracted (see repeated_answers.sql). If an item is not out of order, the window
    -- changes only the gap after the item's latest stored review (see reviews.sql). If a new review ends this gap,
    -- closed_at, closed_id, closed_on and closed_grade hold the gap's first answer. Otherwise, asked_at, asked_id,
    -- asked_on and asked_grade hold this answer.
    is_out_of_order boolean,
    closed_at timestamptz, closed_id uuid, closed_on date, closed_grade int,
    is_test boolean,                       -- the gap's first answer is new, and is a test of retention
    has_repeats boolean,                   -- the gap has new answers after its first answer
    is_late boolean,                       -- a new answer does not follow the item's latest stored answer; or retracted
    first_at timestamptz, last_at timestamptz,   -- of the item's events in the window
    first_cut_at timestamptz,              -- the first new review or retracted answer; later answers may become first
    first_session varchar(200) COLLATE "C" -- of the window's first answer
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_items;

-- fold --
INSERT INTO window_items
SELECT w.user_id, w.item_id,
    coalesce(old.answers, 0) + w.answers                   AS answers,
    coalesce(old.correct_answers, 0) + w.correct_answers   AS correct_answers,
    coalesce(old.response_ms, 0) + w.response_ms           AS response_ms,
    coalesce(old.timed_answers, 0) + w.timed_answers       AS timed_answers,
    -- If an answer is late, `recompute` replaces the first and the last one.
    coalesce(old.first_answered_at, w.first_answered_at)   AS first_answered_at,
    coalesce(old.first_answered_on, w.days[1])             AS first_answered_on,
    coalesce(w.last_answered_at, old.last_answered_at)     AS last_answered_at,
    coalesce(old.first_correct_at, w.first_correct_at)     AS first_correct_at,
    coalesce(old.first_correct_on, w.days[{read_models/item_stats first_correct}]) AS first_correct_on,
    least(old.first_mastered_at, w.first_mastered_at)      AS first_mastered_at,
    CASE WHEN w.first_mastered_at < old.first_mastered_at OR old.first_mastered_at IS NULL
        THEN w.first_mastered_on ELSE old.first_mastered_on END AS first_mastered_on,
    CASE WHEN later.is_new THEN (w.review).interval_days ELSE old.interval_days END AS interval_days,
    CASE WHEN later.is_new THEN (w.review).easiness_factor ELSE old.easiness_factor END AS easiness_factor,
    CASE WHEN later.is_new THEN w.reviewed_at ELSE old.reviewed_at END         AS reviewed_at,
    CASE WHEN later.is_new THEN (w.review).event_id ELSE old.review_id END     AS review_id,
    CASE WHEN later.is_new THEN (w.review).due_at ELSE old.sent_due_at END     AS sent_due_at,
    coalesce(old.lapses, 0) + CASE WHEN test.is_new AND w.grades[1] < 2 THEN 1 ELSE 0 END AS lapses,
    CASE WHEN later.is_new THEN (w.review).day ELSE old.reviewed_on END        AS reviewed_on,
    CASE WHEN gap.is_open THEN coalesce(old.asked_at, w.first_answered_at) END AS asked_at,
    CASE WHEN gap.is_open THEN coalesce(old.asked_id, w.first_answer_id) END   AS asked_id,
    CASE WHEN gap.is_open THEN coalesce(old.asked_on, w.days[1]) END         AS asked_on,
    CASE WHEN gap.is_open THEN coalesce(old.asked_grade, w.grades[1]) END AS asked_grade,
    memory.state[1]                                        AS stability,
    memory.state[2]                                        AS difficulty,
    coalesce(w.days[w.answers], old.last_answered_on)      AS last_answered_on,
    coalesce(w.grades[w.answers] >= 2, old.last_correct)    AS last_correct,
    old.place,
    old.first_answered_on                                  AS had_answered_on,
    old.first_correct_on                                   AS had_correct_on,
    old.first_mastered_on                                  AS had_mastered_on,
    old.interval_days                                      AS had_interval_days,
    coalesce(old.answers, 0)                               AS had_answers,
    coalesce(old.correct_answers, 0)                       AS had_correct_answers,
    coalesce(old.response_ms, 0)                           AS had_response_ms,
    coalesce(old.timed_answers, 0)                         AS had_timed_answers,
    coalesce(old.lapses, 0)                                AS had_lapses,
    old.first_answered_at                                  AS had_first_answered_at,
    old.last_answered_at                                   AS had_last_answered_at,
    chain.is_out_of_order,
    CASE WHEN gap.is_closed THEN coalesce(old.asked_at, w.first_answered_at) END AS closed_at,
    CASE WHEN gap.is_closed THEN coalesce(old.asked_id, w.first_answer_id) END   AS closed_id,
    CASE WHEN gap.is_closed THEN coalesce(old.asked_on, w.days[1]) END         AS closed_on,
    CASE WHEN gap.is_closed THEN coalesce(old.asked_grade, w.grades[1]) END AS closed_grade,
    test.is_new                                            AS is_test,
    NOT chain.is_out_of_order AND w.answers > CASE WHEN old.asked_at IS NULL THEN 1 ELSE 0 END AS has_repeats,
    chain.is_late, w.first_at, w.last_at, w.first_cut_at, w.first_session
FROM (
    SELECT user_id, item_id,
        coalesce(sum(change) FILTER (WHERE grade IS NOT NULL), 0) AS answers,
        coalesce(sum(change) FILTER (WHERE correct), 0)           AS correct_answers,
        coalesce(sum(change * response_ms), 0)::bigint            AS response_ms,
        coalesce(sum(change) FILTER (WHERE response_ms IS NOT NULL), 0) AS timed_answers,
        min(occurred_at) FILTER (WHERE grade IS NOT NULL)         AS first_answered_at,
        max(occurred_at) FILTER (WHERE grade IS NOT NULL)         AS last_answered_at,
        (array_agg(event_id ORDER BY occurred_at, event_id) FILTER (WHERE grade IS NOT NULL))[1] AS first_answer_id,
        array_agg(day ORDER BY occurred_at, event_id) FILTER (WHERE grade IS NOT NULL)   AS days,
        array_agg(grade ORDER BY occurred_at, event_id) FILTER (WHERE grade IS NOT NULL) AS grades,
        min(occurred_at) FILTER (WHERE correct)                   AS first_correct_at,
        count(interval_days)                                      AS reviews,
        min(occurred_at) FILTER (WHERE interval_days >= 7)        AS first_mastered_at,
        (array_agg(day ORDER BY occurred_at, event_id) FILTER (WHERE interval_days >= 7))[1] AS first_mastered_on,
        max(occurred_at) FILTER (WHERE interval_days IS NOT NULL) AS reviewed_at,
        (array_agg(f ORDER BY occurred_at, event_id) FILTER (WHERE interval_days IS NOT NULL))[
            count(interval_days)]                                 AS review,
        min(occurred_at) AS first_at, max(occurred_at) AS last_at,
        min(occurred_at) FILTER (WHERE interval_days IS NOT NULL OR change < 0) AS first_cut_at,
        (array_agg(session_id ORDER BY occurred_at, event_id) FILTER (WHERE grade IS NOT NULL))[1] AS first_session,
        min(change) < 0                                           AS is_retracted
    FROM window_facts f
    WHERE grade IS NOT NULL OR interval_days IS NOT NULL
    GROUP BY item_id, user_id
) w
LEFT JOIN LATERAL (
    SELECT s.*, s.ctid AS place
    FROM item_stats s
    WHERE s.user_id = w.user_id AND s.item_id = w.item_id AND has_past
    OFFSET 0
) old ON true
CROSS JOIN LATERAL (
    SELECT w.reviewed_at IS NOT NULL
       AND (old.reviewed_at IS NULL OR (w.reviewed_at, (w.review).event_id) > (old.reviewed_at, old.review_id))
        AS is_new
) later
CROSS JOIN LATERAL (
    SELECT coalesce(w.reviews > 1 OR w.reviewed_at < w.last_answered_at OR w.reviewed_at < old.last_answered_at
        OR w.reviewed_at <= old.reviewed_at OR w.first_answered_at <= old.reviewed_at
        OR w.first_answered_at <= old.last_answered_at, false) OR w.is_retracted AS is_out_of_order,
        coalesce(w.first_answered_at <= old.last_answered_at, false) OR w.is_retracted AS is_late
) chain
CROSS JOIN LATERAL (
    SELECT NOT chain.is_out_of_order AND old.asked_at IS NULL AND old.interval_days >= 1
        AND old.reviewed_on < w.days[1] AS is_new
) test
CROSS JOIN LATERAL (  -- OFFSET 0: call the function once, and not for each column
    SELECT CASE WHEN NOT chain.is_late THEN continue_memory(
        CASE WHEN old.stability IS NOT NULL THEN ARRAY[old.stability, old.difficulty] END,
        old.last_answered_on, w.days, w.grades) END AS state
    OFFSET 0
) memory
CROSS JOIN LATERAL (
    SELECT NOT chain.is_out_of_order AND w.reviewed_at IS NULL AS is_open,
        NOT chain.is_out_of_order AND w.reviewed_at IS NOT NULL AS is_closed
) gap;

{read_models/item_stats recompute}

{read_models/repeated_answers chain_segments}

DELETE FROM item_stats
WHERE ctid = ANY (ARRAY(SELECT place FROM window_items WHERE answers = 0 AND reviewed_at IS NULL));

-- Rows are updated by their ctid, which takes less time than ON CONFLICT.
UPDATE item_stats s SET
    answers           = w.answers,
    correct_answers   = w.correct_answers,
    response_ms       = w.response_ms,
    timed_answers     = w.timed_answers,
    first_answered_at = w.first_answered_at,
    first_answered_on = w.first_answered_on,
    last_answered_at  = w.last_answered_at,
    first_correct_at  = w.first_correct_at,
    first_correct_on  = w.first_correct_on,
    first_mastered_at = w.first_mastered_at,
    first_mastered_on = w.first_mastered_on,
    interval_days     = w.interval_days,
    easiness_factor   = w.easiness_factor,
    reviewed_at       = w.reviewed_at,
    review_id         = w.review_id,
    sent_due_at       = w.sent_due_at,
    lapses            = w.lapses,
    reviewed_on       = w.reviewed_on,
    asked_at          = w.asked_at,
    asked_id          = w.asked_id,
    asked_on          = w.asked_on,
    asked_grade       = w.asked_grade,
    stability         = w.stability,
    difficulty        = w.difficulty,
    last_answered_on  = w.last_answered_on,
    last_correct      = w.last_correct
FROM window_items w
WHERE s.ctid = w.place;

INSERT INTO item_stats
SELECT {read_models/item_stats columns}
FROM window_items
WHERE place IS NULL
ORDER BY user_id, item_id;

-- recompute --
-- Compute what depends on the order of the answers from all answers of the item, if one is late or retracted. The folds
-- of the window have not changed given_answers yet.
IF EXISTS (SELECT FROM window_items WHERE is_late) THEN
    WITH late AS MATERIALIZED (
        SELECT user_id, item_id FROM window_items WHERE is_late
    ), remembered AS (
        SELECT user_id, item_id, count(event_id) AS answers,
            array_agg(day ORDER BY occurred_at, event_id) FILTER (WHERE event_id IS NOT NULL)     AS days,
            array_agg(grade ORDER BY occurred_at, event_id) FILTER (WHERE event_id IS NOT NULL)   AS grades,
            min(occurred_at) AS first_answered_at, max(occurred_at) AS last_answered_at,
            min(occurred_at) FILTER (WHERE grade >= 2) AS first_correct_at
        FROM (
            SELECT l.user_id, l.item_id, f.occurred_at, f.event_id, f.day, f.grade
            FROM late l
            LEFT JOIN window_facts f
                ON f.item_id = l.item_id AND f.user_id = l.user_id AND f.grade IS NOT NULL AND f.change > 0
            UNION ALL
            SELECT a.*
            FROM late l
            CROSS JOIN LATERAL (
                SELECT * FROM given_answers g WHERE g.user_id = l.user_id AND g.item_id = l.item_id OFFSET 0
            ) a
            WHERE a.event_id <> ALL (ARRAY(SELECT event_id FROM window_facts WHERE change < 0))
        ) answers
        GROUP BY item_id, user_id
    )
    UPDATE window_items i
    SET stability = m.state[1], difficulty = m.state[2],
        first_answered_at = r.first_answered_at, first_answered_on = r.days[1],
        first_correct_at = r.first_correct_at, first_correct_on = r.days[{read_models/item_stats first_correct}],
        last_answered_at = r.last_answered_at,
        last_answered_on = r.days[r.answers], last_correct = r.grades[r.answers] >= 2
    FROM remembered r
    CROSS JOIN LATERAL (SELECT continue_memory(NULL, NULL, r.days, r.grades) AS state OFFSET 0) m
    WHERE i.item_id = r.item_id AND i.user_id = r.user_id;
END IF;

-- first_correct --
-- The place of the first correct answer among an item's answers.
least(array_position(grades, 3), array_position(grades, 2), array_position(grades, 4))

-- definition --
SELECT c.user_id, c.item_id, c.answers, c.correct_answers, c.response_ms, c.timed_answers, c.first_answered_at,
    c.first_answered_on, c.last_answered_at, c.first_correct_at, c.first_correct_on, c.first_mastered_at,
    c.first_mastered_on, c.interval_days, c.easiness_factor, c.reviewed_at, c.review_id, c.sent_due_at,
    c.lapses, c.reviewed_on,
    f.occurred_at AS asked_at, f.event_id AS asked_id, f.day AS asked_on, f.grade AS asked_grade,
    c.stability, c.difficulty, c.last_answered_on, c.last_correct
FROM (
{read_models/item_stats as_of with lapses}
) c
LEFT JOIN chained_facts f ON f.is_first AND f.user_id = c.user_id AND f.item_id = c.item_id AND f.gap = c.gap

-- as_of --
-- The columns that most queries read: not the answer after the latest review, the state of memory and the lapses. `gap`
-- is the number of reviews. first_answered_on is the local day of first_answered_at, and not always the earliest local
-- day of an answer, because the learner's zone may change. The same holds for first_correct_on and first_mastered_on.
WITH answered AS (
    SELECT user_id, item_id, count(*) AS answers, count(*) FILTER (WHERE correct) AS correct_answers,
        CAST(sum(response_ms) AS bigint) AS response_ms, count(response_ms) AS timed_answers,
        min(occurred_at) AS first_answered_at, max(occurred_at) AS last_answered_at,
        min(occurred_at) FILTER (WHERE correct) AS first_correct_at
    FROM dated_facts
    WHERE kind = 'answer'
    GROUP BY user_id, item_id
), reviewed AS (
    SELECT user_id, item_id, count(*) AS reviews,
        min(occurred_at) FILTER (WHERE interval_days >= 7) AS first_mastered_at,
        max(interval_days) FILTER (WHERE is_latest) AS interval_days,
        max(easiness_factor) FILTER (WHERE is_latest) AS easiness_factor,
        max(occurred_at) AS reviewed_at,
        max(day) FILTER (WHERE is_latest) AS reviewed_on,
        CAST(max(CAST(event_id AS text)) FILTER (WHERE is_latest) AS uuid) AS review_id,
        max(due_at) FILTER (WHERE is_latest) AS sent_due_at
    FROM chained_reviews
    GROUP BY user_id, item_id
), met AS (
    SELECT coalesce(a.user_id, r.user_id) AS user_id, coalesce(a.item_id, r.item_id) AS item_id, a.answers,
        a.correct_answers, a.response_ms, a.timed_answers, a.first_answered_at, a.last_answered_at, a.first_correct_at,
        r.first_mastered_at, r.interval_days, r.easiness_factor, r.reviewed_at, r.reviewed_on, r.review_id,
        r.sent_due_at,
        coalesce(r.reviews, 0) AS gap
    FROM answered a
    FULL JOIN reviewed r ON r.user_id = a.user_id AND r.item_id = a.item_id
)
SELECT m.user_id, m.item_id, coalesce(m.answers, 0) AS answers, coalesce(m.correct_answers, 0) AS correct_answers,
    coalesce(m.response_ms, 0) AS response_ms, coalesce(m.timed_answers, 0) AS timed_answers,
    m.first_answered_at, CAST(m.first_answered_at + coalesce(a.to_day, INTERVAL '0 days') AS date) AS first_answered_on,
    m.last_answered_at,
    m.first_correct_at, CAST(m.first_correct_at + coalesce(c.to_day, INTERVAL '0 days') AS date) AS first_correct_on,
    m.first_mastered_at, CAST(m.first_mastered_at + coalesce(r.to_day, INTERVAL '0 days') AS date) AS first_mastered_on,
    m.interval_days, m.easiness_factor, m.reviewed_at, m.review_id, m.sent_due_at, m.reviewed_on, m.gap
FROM met m
LEFT JOIN shifts a ON a.user_id = m.user_id AND a.starts_at <= m.first_answered_at AND a.ends_at > m.first_answered_at
LEFT JOIN shifts c ON c.user_id = m.user_id AND c.starts_at <= m.first_correct_at AND c.ends_at > m.first_correct_at
LEFT JOIN shifts r ON r.user_id = m.user_id AND r.starts_at <= m.first_mastered_at AND r.ends_at > m.first_mastered_at

-- as_of with memory --
SELECT m.*, l.stability, l.difficulty, l.day AS last_answered_on, l.correct AS last_correct
FROM (
{read_models/item_stats as_of}
) m
LEFT JOIN remembered_answers l ON l.is_latest AND l.user_id = m.user_id AND l.item_id = m.item_id

-- as_of with lapses --
SELECT r.*, coalesce(f.lapses, 0) AS lapses
FROM (
{read_models/item_stats as_of with memory}
) r
LEFT JOIN (
    SELECT user_id, item_id, count(*) AS lapses
    FROM chained_facts
    WHERE {read_models/retention_stats is_lapse}
    GROUP BY user_id, item_id
) f ON f.user_id = r.user_id AND f.item_id = r.item_id

-- snapshot --
(SELECT jsonb_object_agg(t.item_id, ARRAY[t]::text) FROM item_stats t WHERE t.user_id = learner)

-- item_fields --
-- The result columns from a row s, its description i and its word w. The row or the description may be missing.
w.headword,
coalesce(i.level, 'UNKNOWN')                       AS level,
CASE WHEN cardinality(i.domains) > 0 THEN i.domains
     ELSE ARRAY['UNKNOWN'] END                     AS domains,
coalesce(s.answers, 0)                             AS answers,
coalesce(s.correct_answers, 0)                     AS correct_answers,
CAST(s.correct_answers AS double precision) / nullif(s.answers, 0) AS accuracy_rate,
CAST(s.response_ms AS double precision) / nullif(s.timed_answers, 0) AS average_response_ms,
s.first_answered_at,
s.first_correct_at,
s.last_answered_at,
s.interval_days,
s.easiness_factor,
s.reviewed_at,
{read_models/item_stats due_at} AS due_at,
coalesce(s.lapses, 0)                              AS lapses,
CASE WHEN s.item_id IS NULL THEN 'UNLEARNED'
     WHEN s.interval_days >= 21 THEN 'LONG_TERM'
     WHEN s.interval_days >= 7 THEN 'SHORT_TERM'
     ELSE 'LEARNING' END                           AS mastery,
i.language,
w.kind

-- due_items --
-- The start of a WITH clause. It counts the items in play that fall due on the :days local days from today.
-- * `collected` has one row. `items` is the number of items that may fall due by the last of these days. `times` is an
--   array with the due_at of each of these items, but leaves out the items that are overdue in every zone.
-- * `falling` has the numbers of items by day and is_overdue. An item is overdue if its local due day is before today.
--   Today's numbers include the overdue items. They also include each item whose due_at has passed, even if its local
--   due day is after today.
-- `collected` selects rows by due_date, because computing due_at for each row would take longer. A local date differs
-- from the date in UTC by at most two days, so `bounds` begins and ends some days outside of the forecast.
WITH today AS (
    {read_models/preferences today}
),
bounds AS (
    SELECT day - 7 AS first_day, day + CAST(:days AS integer) + 5 AS last_day
    FROM (SELECT CAST(CAST(:now AS timestamptz) AS date) AS day) AS utc
),
collected AS (
    SELECT count(*) AS items,
        array_agg({read_models/item_stats due_at})
            FILTER (WHERE {read_models/item_stats due_date} >= (SELECT first_day FROM bounds)) AS times
    FROM item_stats s
    {read_models/item_stats out_of_play}
    WHERE s.user_id = :user_id
      AND {read_models/item_stats due_date} <= (SELECT last_day FROM bounds)
      AND {read_models/item_stats in_play}
),
shifts AS MATERIALIZED (
    SELECT starts_at, ends_at, shift
    FROM segments
    WHERE user_id = :user_id
      AND starts_at < (SELECT last_day + 4 FROM bounds) AND ends_at > (SELECT first_day - 4 FROM bounds)
),
edges AS MATERIALIZED (  -- all times at which the day or `is_overdue` of falling items may change
    SELECT array_agg(DISTINCT at) AS times
    FROM (
        SELECT CAST(:now AS timestamptz) + INTERVAL '1 microsecond' AS at
        UNION ALL
        SELECT unnest(ARRAY[starts_at, ends_at]) FROM shifts
        UNION ALL
        SELECT CAST(b.first_day + n AS timestamptz) - coalesce(s.shift, INTERVAL '0 hours')  -- a local midnight
        FROM bounds b
        CROSS JOIN generate_series(-4, b.last_day - b.first_day + 4) AS n
        LEFT JOIN shifts s ON TRUE
    ) AS edge
),
spans AS (  -- the spans between consecutive edges; for a time, `width_bucket` returns the number of its span
    SELECT CAST(e.number AS integer) AS number,
        CASE WHEN e.at <= :now THEN today.day ELSE greatest(today.day, local.day) END AS day,
        local.day < today.day AS is_overdue
    FROM today
    CROSS JOIN edges
    CROSS JOIN LATERAL unnest(edges.times) WITH ORDINALITY AS e (at, number)
    LEFT JOIN shifts s ON e.at >= s.starts_at AND e.at < s.ends_at
    CROSS JOIN LATERAL (SELECT CAST(e.at + coalesce(s.shift, INTERVAL '0 hours') AS date) AS day) AS local
),
falling AS (
    SELECT spans.day, spans.is_overdue, counted.items
    FROM (
        SELECT width_bucket(at, (SELECT times FROM edges)) AS number, count(*) AS items
        FROM (SELECT unnest(times) AS at FROM collected) AS due
        GROUP BY 1
    ) AS counted
    JOIN spans USING (number)
    UNION ALL
    SELECT today.day, TRUE, c.items - coalesce(cardinality(c.times), 0)
    FROM collected c
    CROSS JOIN today
)

-- due_at --
coalesce(s.sent_due_at, s.reviewed_at + {read_models/item_stats counted_interval} * INTERVAL '24 hours')

-- counted_interval --
-- A longer interval would lead to a date that no database can store.
least(s.interval_days, 36500)

-- due_on --
-- The learner's local day of due_at. The segments are read once for all rows; each begins where the one before ends.
CAST({read_models/item_stats due_at} + coalesce((
    ARRAY(SELECT g.shift FROM segments g WHERE g.user_id = :user_id ORDER BY g.starts_at)
)[width_bucket({read_models/item_stats due_at},
    ARRAY(SELECT g.starts_at FROM segments g WHERE g.user_id = :user_id ORDER BY g.starts_at)
)], INTERVAL '0 hours') AS date)

-- due_date --
-- A date that differs from the date of due_at in UTC by at most two days.
coalesce(CAST(s.sent_due_at AS date), s.reviewed_on + CAST({read_models/item_stats counted_interval} AS integer))

-- in_play --
-- True if the item of a row s is a task of the learner: the catalogue has not archived it, and the learner has not set
-- it aside. The statement has the joins of `out_of_play`.
archived.item_id IS NULL AND aside.item_id IS NULL

-- out_of_play --
-- Joins the rows that take the item of a row s out of play. In the present, PostgreSQL hashes the archived items if
-- they are few, and looks them up if they are many; in the past, it looks them up (`each` in projections/as_of.sql).
LEFT JOIN LATERAL (
        SELECT d.item_id FROM items d WHERE d.item_id = s.item_id AND NOT d.in_catalogue /* each */
    ) AS archived ON archived.item_id = s.item_id
    {read_models/set_aside_items of_item}

-- is_due --
-- True if the item of a row s is in today's row of the forecast, in a statement that begins with `due_items`.
{read_models/item_stats in_play} AND (
    {read_models/item_stats due_date} < (SELECT first_day FROM bounds)
    OR width_bucket({read_models/item_stats due_at}, (SELECT times FROM edges))
       = ANY (ARRAY(SELECT spans.number FROM spans JOIN today USING (day))))

-- in_play_fields --
-- Whether the item `asked`, which the learner may never have met, is set aside and in play.
aside.item_id IS NOT NULL AS set_aside,
i.in_catalogue IS NOT FALSE AND aside.item_id IS NULL AS in_play

-- shown_joins --
-- Joins what `shown_fields` reads besides s.
{read_models/items of_asked}
{read_models/own_words of_item}
LEFT JOIN set_aside_items aside ON aside.user_id = :user_id AND aside.item_id = asked.item_id AND aside.is_set_aside

-- shown_fields --
-- The result columns of the item `asked`, as a reader is shown it: of its row s, its description i and its word w.
{read_models/item_stats item_fields},
{read_models/item_stats due_on} AS due_on,
{read_models/item_stats in_play_fields},
{read_models/memory item_fields},
w.own

-- list --
-- One page of a learner's items. The page begins after the given key. Each row also has the number of all items that
-- pass the filters. Every order sorts by ascending numbers, so that all sort keys have one type. Times become
-- microseconds since 1970, which a double holds exactly until the year 2255.
{read_models/item_stats due_items},
listed AS (
    SELECT
        s.item_id,
        CASE CAST(:order_by AS text)
            WHEN 'ACCURACY' THEN CAST(s.correct_answers AS double precision) / nullif(s.answers, 0)
            WHEN 'LAPSES' THEN - CAST(s.lapses AS double precision)
            WHEN 'RECALL' THEN {read_models/memory estimated_recall}
            WHEN 'DUE' THEN CAST(extract(epoch FROM {read_models/item_stats due_at}) * 1000000 AS double precision)
            ELSE - CAST(extract(epoch FROM greatest(
                coalesce(s.last_answered_at, s.reviewed_at),
                coalesce(s.reviewed_at, s.last_answered_at))) * 1000000 AS double precision)
        END AS sort_key
    FROM (
        SELECT s.*
        FROM item_stats s
        LEFT JOIN ({read_models/item_stats chosen}) AS c ON c.item_id = s.item_id
        LEFT JOIN (
            SELECT m.item_id
            FROM ({read_models/lists members of list}) AS m
            WHERE CAST(:list_id AS text) IS NOT NULL
        ) AS m ON m.item_id = s.item_id
        WHERE s.user_id = :user_id
          AND (CAST(:filter AS text) NOT IN ('SET_ASIDE', 'ANSWERED', 'MISSED', 'SLIPPED_BACK')
               OR c.item_id IS NOT NULL)
          AND (CAST(:list_id AS text) IS NULL OR m.item_id IS NOT NULL)
    ) s
    CROSS JOIN today AS moment
    LEFT JOIN LATERAL (
        SELECT d.item_id
        FROM items d
        WHERE d.item_id = s.item_id AND NOT d.in_catalogue
          AND CAST(:filter AS text) IN ('STRUGGLING', 'DUE', 'LEECH', 'FADING')
        OFFSET 0
    ) AS archived ON TRUE
    {read_models/set_aside_items of_item}
    LEFT JOIN LATERAL (
        SELECT *
        FROM items d
        WHERE d.item_id = s.item_id AND (
            coalesce(CAST(:level AS text), CAST(:domain AS text), CAST(:language AS text)) IS NOT NULL
            OR CAST(:search AS text) <> '')
        OFFSET 0
    ) AS i ON TRUE
    LEFT JOIN own_words o ON o.user_id = :user_id AND o.item_id = s.item_id AND CAST(:is_learner AS boolean)
    WHERE CASE CAST(:filter AS text)
            WHEN 'LEARNING' THEN coalesce(s.interval_days, 0) < 7
            WHEN 'MASTERED' THEN s.interval_days >= 7
            WHEN 'STRUGGLING' THEN s.answers >= 3 AND s.correct_answers * 5 < s.answers * 3
                AND {read_models/item_stats in_play}
            WHEN 'DUE' THEN {read_models/item_stats is_due}
            WHEN 'LEECH' THEN s.lapses >= 8 AND {read_models/item_stats in_play}
            WHEN 'FADING' THEN {read_models/item_stats in_play} AND {read_models/memory has_faded}
            WHEN 'NEWLY_MASTERED' THEN s.first_mastered_on BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
            ELSE TRUE
          END
      AND {read_models/items level_and_domain}
      AND {read_models/items in_language}
      AND {read_models/own_words found}
),
page AS (
    SELECT * FROM listed
    WHERE CASE
            WHEN CAST(:after_item_id AS text) IS NULL THEN TRUE
            WHEN CAST(:after_rank AS double precision) IS NULL
                THEN sort_key IS NULL AND item_id > :after_item_id
            ELSE sort_key IS NULL OR sort_key > :after_rank
                 OR (sort_key = :after_rank AND item_id > :after_item_id)
          END
    ORDER BY sort_key NULLS LAST, item_id
    LIMIT CAST(:first AS bigint)
)
SELECT
    total.items                                        AS total_count,
    asked.sort_key                                     AS rank,
    asked.item_id,
    {read_models/item_stats shown_fields}
FROM (SELECT count(*) AS items FROM listed) AS total
CROSS JOIN today AS moment
LEFT JOIN page asked ON TRUE
LEFT JOIN item_stats s ON s.user_id = :user_id AND s.item_id = asked.item_id
{read_models/item_stats shown_joins}
ORDER BY asked.sort_key NULLS LAST, asked.item_id;

-- chosen --
-- The items that pass a filter about other tables; none of another filter, which is a constant.
SELECT DISTINCT item_id
FROM (
    SELECT a.item_id FROM set_aside_items a
    WHERE a.user_id = :user_id AND a.is_set_aside AND CAST(:filter AS text) = 'SET_ASIDE'
    UNION ALL
    SELECT d.item_id FROM item_days d
    WHERE d.user_id = :user_id AND d.day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
      AND CASE CAST(:filter AS text) WHEN 'ANSWERED' THEN TRUE WHEN 'MISSED' THEN d.correct_answers < d.answers
          ELSE FALSE END
    UNION ALL
    SELECT f.item_id FROM ({read_models/reviews slipped back}) f
    WHERE f.day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
      AND CAST(:filter AS text) = 'SLIPPED_BACK'
) AS named

-- item --
-- One item of a learner; no row if it was neither described nor answered nor reviewed, and no own word is shown.
SELECT
    asked.item_id,
    {read_models/item_stats shown_fields}
FROM (SELECT CAST(:item_id AS text) AS item_id) AS asked
CROSS JOIN ({read_models/preferences today}) AS moment
LEFT JOIN item_stats s ON s.user_id = :user_id AND s.item_id = asked.item_id
{read_models/item_stats shown_joins}
WHERE i.described_at IS NOT NULL OR s.item_id IS NOT NULL OR w.own;

-- forecast --
-- The number of items that fall due on each local day from today, and the number of overdue items among today's.
{read_models/item_stats due_items},
days AS (
    SELECT day, sum(items) AS items, sum(items) FILTER (WHERE is_overdue) AS overdue
    FROM falling
    GROUP BY day
)
SELECT
    today.day + n                          AS date,
    CAST(coalesce(d.items, 0) AS bigint)   AS items,
    CAST(coalesce(d.overdue, 0) AS bigint) AS overdue
FROM today
CROSS JOIN generate_series(0, CAST(:days AS integer) - 1) AS n
LEFT JOIN days d ON d.day = today.day + n
ORDER BY today.day + n;

-- workload --
-- The numbers of items in today's row of the forecast, the learner's pace in the last 28 local days, and the time that
-- these items take at this pace. If only the pace is selected, PostgreSQL does not count the items.
{read_models/item_stats due_items},
todays AS MATERIALIZED (
    SELECT CAST(sum(f.items) AS bigint) AS due,
        CAST(coalesce(sum(f.items) FILTER (WHERE f.is_overdue), 0) AS bigint) AS overdue
    FROM falling f
    WHERE f.day = (SELECT day FROM today)
),
answered AS (
    SELECT CAST(sum(d.timed_answers) AS bigint) AS answers, CAST(sum(d.response_ms) AS bigint) AS response_ms
    FROM daily_stats d
    WHERE d.user_id = :user_id
      AND d.day BETWEEN (SELECT day FROM today) - 27 AND (SELECT day FROM today)
)
SELECT
    (SELECT due FROM todays)     AS due,
    (SELECT overdue FROM todays) AS overdue,
    CAST(a.response_ms AS double precision) / nullif(a.answers * 1000, 0) AS seconds_per_answer,
    CASE WHEN a.answers > 0
         THEN ((SELECT due FROM todays) * a.response_ms + a.answers * 60000 - 1) / (a.answers * 60000) END AS minutes
FROM answered a;

-- rows languages --
-- The languages of the learner's items, most items first; `kinds` counts only described items and, of `und`, own words
-- that the reader is shown. The items are first counted by tag, because primary_language takes time and tags are few.
SELECT {read_models/items primary_language} AS language, CAST(sum(i.items) AS bigint) AS items_studied,
    CAST(sum(i.answers) AS bigint) AS answers,
    count(DISTINCT coalesce(CASE WHEN own.counts THEN i.own_kind ELSE i.kind END, ''))
        FILTER (WHERE i.is_described OR own.counts) AS kinds
FROM (
    SELECT i.language, i.kind, i.described_at IS NOT NULL AS is_described, w.own,
        CASE WHEN w.own THEN o.kind END AS own_kind, count(*) AS items, sum(asked.answers) AS answers
    FROM item_stats asked
    LEFT JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = asked.item_id /* each */) AS i ON TRUE
    {read_models/own_words of_item}
    WHERE asked.user_id = :user_id
    GROUP BY 1, 2, 3, 4, 5
) AS i
CROSS JOIN LATERAL (SELECT i.own AND {read_models/items primary_language} = 'und' AS counts) AS own
GROUP BY 1
ORDER BY items_studied DESC, language;

-- export items --
COPY (
    SELECT {operations/export_user marked_item},
        {read_models/item_stats item_fields},
        s.stability,
        s.difficulty,
        CAST(a.item_id IS NOT NULL AS text) AS set_aside
    FROM item_stats s
    LEFT JOIN {operations/export_user marked_items} ON i.item_id = s.item_id
    LEFT JOIN {operations/export_user marked_words} ON o.user_id = s.user_id AND o.item_id = s.item_id
    {read_models/own_words shown}
    LEFT JOIN set_aside_items a ON a.user_id = s.user_id AND a.item_id = s.item_id AND a.is_set_aside
    WHERE s.user_id = current_setting('export.learner')
    ORDER BY s.item_id
) TO STDOUT (FORMAT csv, HEADER);
