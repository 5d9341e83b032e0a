-- One row per learner and local day with an answer, a completed session or a review.

-- table --
CREATE TABLE daily_stats (
    user_id            text COLLATE "C" NOT NULL,
    day                date   NOT NULL,
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    response_ms        bigint NOT NULL,
    timed_answers      bigint NOT NULL,
    sessionless_ms     bigint NOT NULL,    -- response_ms of the answers without a session, in milliseconds
    reviews            bigint NOT NULL,
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    scores             bigint NOT NULL,
    scored_sessions    bigint NOT NULL,
    items_learned      bigint NOT NULL,
    items_reviewed     bigint NOT NULL,
    new_mastery_count  bigint NOT NULL,
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 60);

-- The temporary tables copy this storage mode, which avoids TOAST tables (see window_shape in facts.sql).
ALTER TABLE daily_stats ALTER user_id SET STORAGE PLAIN;

-- window --
-- The window's changes to the sums of each day. items_learned counts an item on the day of its first correct answer. If
-- an earlier correct answer arrives afterwards, the item moves to this answer's day: -1 on the old day, +1 on the new.
CREATE TEMPORARY TABLE window_days (LIKE daily_stats INCLUDING STORAGE) ON COMMIT DELETE ROWS;

-- The days that become or cease to be study days.
CREATE TEMPORARY TABLE window_study_days (user_id varchar(200) COLLATE "C", day date) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_days;
DELETE FROM window_study_days;

-- fold --
-- Each CTE reads one of the window's tables, and computes the columns that this table contributes. Full joins are
-- hashed or merged, so a plan that was made on empty tables is never a nested loop.
WITH answered AS (
    SELECT user_id, day,
        sum(change) FILTER (WHERE grade IS NOT NULL) AS answers,
        sum(change) FILTER (WHERE correct) AS correct_answers,
        sum(change * response_ms)::bigint AS response_ms,
        sum(change) FILTER (WHERE response_ms IS NOT NULL) AS timed_answers,
        sum(response_ms) FILTER (WHERE session_id IS NULL)::bigint AS sessionless_ms,
        count(interval_days) AS reviews
    FROM window_facts
    WHERE grade IS NOT NULL OR interval_days IS NOT NULL
    GROUP BY user_id, day
), completed AS (
    SELECT user_id, day,
        sum(sessions_completed)::bigint AS sessions_completed,
        sum(study_seconds)::bigint AS study_seconds,
        sum(scores)::bigint AS scores,
        sum(scored_sessions)::bigint AS scored_sessions
    FROM window_completions
    GROUP BY user_id, day
), learned AS (
    SELECT user_id, day, sum(change)::bigint AS items_learned
    FROM (
        SELECT user_id, first_correct_on AS day, 1 AS change FROM window_items
        WHERE first_correct_on IS NOT NULL AND first_correct_on IS DISTINCT FROM had_correct_on
        UNION ALL
        SELECT user_id, had_correct_on, -1 FROM window_items
        WHERE had_correct_on IS NOT NULL AND had_correct_on IS DISTINCT FROM first_correct_on
    ) moves
    GROUP BY user_id, day
), reviewed AS (
    SELECT user_id, day, sum(items_reviewed)::bigint AS items_reviewed
    FROM window_reviewed
    GROUP BY user_id, day
), mastered AS (
    SELECT user_id, day, sum(change)::bigint AS new_mastery_count
    FROM (
        SELECT user_id, first_mastered_on AS day, 1 AS change FROM window_items
        WHERE first_mastered_on IS DISTINCT FROM had_mastered_on
        UNION ALL
        SELECT user_id, had_mastered_on, -1 FROM window_items
        WHERE had_mastered_on <> first_mastered_on
    ) moves
    GROUP BY user_id, day
)
INSERT INTO window_days
SELECT user_id, day,
    coalesce(answers, 0)            AS answers,
    coalesce(correct_answers, 0)    AS correct_answers,
    coalesce(response_ms, 0)        AS response_ms,
    coalesce(timed_answers, 0)      AS timed_answers,
    coalesce(sessionless_ms, 0)     AS sessionless_ms,
    coalesce(reviews, 0)            AS reviews,
    coalesce(sessions_completed, 0) AS sessions_completed,
    coalesce(study_seconds, 0)      AS study_seconds,
    coalesce(scores, 0)             AS scores,
    coalesce(scored_sessions, 0)    AS scored_sessions,
    coalesce(items_learned, 0)      AS items_learned,
    coalesce(items_reviewed, 0)     AS items_reviewed,
    coalesce(new_mastery_count, 0)  AS new_mastery_count
FROM answered
FULL JOIN completed USING (user_id, day)
FULL JOIN learned   USING (user_id, day)
FULL JOIN reviewed  USING (user_id, day)
FULL JOIN mastered  USING (user_id, day);

-- The sessionless answers of a day count in whole seconds of their sum.
IF 'card' = ANY (window_kinds) THEN
    UPDATE window_days w
    SET study_seconds = w.study_seconds + (o.had_ms + w.sessionless_ms) / 1000 - o.had_ms / 1000
    FROM (
        SELECT n.ctid AS place, coalesce(d.sessionless_ms, 0) AS had_ms
        FROM window_days n
        LEFT JOIN LATERAL (
            SELECT * FROM daily_stats s WHERE s.user_id = n.user_id AND s.day = n.day AND has_past OFFSET 0
        ) d ON true
        WHERE n.sessionless_ms > 0
    ) o
    WHERE w.ctid = o.place;
END IF;

-- If a day's number of answers and sessions is now 0, the day ceases to be a study day. If it is the change itself, it
-- was 0 before: the day becomes one.
WITH kept AS (
    INSERT INTO daily_stats AS d
    SELECT *
    FROM window_days
    ORDER BY user_id, day
    ON CONFLICT (user_id, day) DO UPDATE SET
        answers            = d.answers            + excluded.answers,
        correct_answers    = d.correct_answers    + excluded.correct_answers,
        response_ms        = d.response_ms        + excluded.response_ms,
        timed_answers      = d.timed_answers      + excluded.timed_answers,
        sessionless_ms     = d.sessionless_ms     + excluded.sessionless_ms,
        reviews            = d.reviews            + excluded.reviews,
        sessions_completed = d.sessions_completed + excluded.sessions_completed,
        study_seconds      = d.study_seconds      + excluded.study_seconds,
        scores             = d.scores             + excluded.scores,
        scored_sessions    = d.scored_sessions    + excluded.scored_sessions,
        items_learned      = d.items_learned      + excluded.items_learned,
        items_reviewed     = d.items_reviewed     + excluded.items_reviewed,
        new_mastery_count  = d.new_mastery_count  + excluded.new_mastery_count
    RETURNING user_id, day, answers + sessions_completed AS studies
)
INSERT INTO window_study_days
SELECT w.user_id, w.day
FROM window_days w
FULL JOIN kept k ON k.user_id = w.user_id AND k.day = w.day
CROSS JOIN LATERAL (SELECT coalesce(w.answers + w.sessions_completed, 0) AS change, coalesce(k.studies, 0) AS studies) n
WHERE n.change <> 0 AND n.studies IN (0, n.change);

-- Delete each day that has no activity left, because its only completion moved to another day, or because its answers
-- are retracted.
DELETE FROM daily_stats
WHERE ctid = ANY (ARRAY(
    SELECT d.ctid
    FROM window_days w
    CROSS JOIN LATERAL (
        SELECT d.ctid
        FROM daily_stats d
        WHERE d.user_id = w.user_id AND d.day = w.day
          AND d.answers = 0 AND d.reviews = 0 AND d.sessions_completed = 0
        OFFSET 0
    ) d
    WHERE w.sessions_completed < 0 OR w.answers < 0));

-- definition --
-- The left joins lose no day: every day on which an item is learned, repeated or mastered has an answer or a review.
WITH studied AS (
    SELECT user_id, day, count(*) FILTER (WHERE kind = 'answer') AS answers,
        count(*) FILTER (WHERE correct) AS correct_answers, CAST(sum(response_ms) AS bigint) AS response_ms,
        count(response_ms) AS timed_answers,
        CAST(coalesce(sum(response_ms) FILTER (WHERE session_id IS NULL), 0) AS bigint) AS sessionless_ms,
        count(*) FILTER (WHERE kind = 'review') AS reviews
    FROM dated_facts
    WHERE kind IN ('answer', 'review')
    GROUP BY user_id, day
), completed AS (
    SELECT user_id, day, count(*) AS sessions_completed, CAST(sum(duration_seconds) AS bigint) AS study_seconds,
        CAST(sum(score) AS bigint) AS scores, count(score) AS scored_sessions
    FROM completions
    GROUP BY user_id, day
), learned AS (
    SELECT user_id, first_correct_on AS day, count(*) AS items FROM item_stats GROUP BY user_id, first_correct_on
), repeated AS (
    SELECT d.user_id, d.day, count(*) AS items
    FROM item_days d
    JOIN item_stats s ON s.user_id = d.user_id AND s.item_id = d.item_id
    WHERE d.day > s.first_answered_on
    GROUP BY d.user_id, d.day
), mastered AS (
    SELECT user_id, first_mastered_on AS day, count(*) AS items FROM item_stats GROUP BY user_id, first_mastered_on
)
SELECT user_id, day,
    coalesce(s.answers, 0) AS answers, coalesce(s.correct_answers, 0) AS correct_answers,
    coalesce(s.response_ms, 0) AS response_ms, coalesce(s.timed_answers, 0) AS timed_answers,
    coalesce(s.sessionless_ms, 0) AS sessionless_ms, coalesce(s.reviews, 0) AS reviews,
    coalesce(c.sessions_completed, 0) AS sessions_completed,
    coalesce(c.study_seconds, 0)
        + CAST(coalesce((s.sessionless_ms - s.sessionless_ms % 1000) / 1000, 0) AS bigint) AS study_seconds,
    coalesce(c.scores, 0) AS scores, coalesce(c.scored_sessions, 0) AS scored_sessions,
    coalesce(l.items, 0) AS items_learned,
    coalesce(r.items, 0) AS items_reviewed, coalesce(m.items, 0) AS new_mastery_count
FROM studied s
FULL JOIN completed c USING (user_id, day)
LEFT JOIN learned l   USING (user_id, day)
LEFT JOIN repeated r  USING (user_id, day)
LEFT JOIN mastered m  USING (user_id, day)

-- is_study_day --
-- Whether a row d is a study day.
(d.answers > 0 OR d.sessions_completed > 0)

-- sums --
-- The sums of days d. The items reviewed on several days are counted once, from item_days.
CAST(sum(d.answers) AS bigint) AS answers, CAST(sum(d.correct_answers) AS bigint) AS correct_answers,
        CAST(sum(d.response_ms) AS bigint) AS response_ms, CAST(sum(d.timed_answers) AS bigint) AS timed_answers,
        CAST(sum(d.reviews) AS bigint) AS reviews, CAST(sum(d.sessions_completed) AS bigint) AS sessions_completed,
        CAST(sum(d.study_seconds) AS bigint) AS study_seconds, CAST(sum(d.scores) AS bigint) AS scores,
        CAST(sum(d.scored_sessions) AS bigint) AS scored_sessions,
        CAST(sum(d.items_learned) AS bigint) AS items_learned,
        CAST(sum(d.new_mastery_count) AS bigint) AS new_mastery_count

-- stat_fields --
-- The result columns from a row s of daily_stats or weekly_stats. The row may be missing.
coalesce(s.sessions_completed, 0)                  AS sessions_completed,
coalesce(s.study_seconds, 0)                       AS study_seconds,
coalesce(s.study_seconds, 0) / 60                  AS study_time_minutes,
coalesce(s.answers, 0)                             AS answers,
coalesce(s.correct_answers, 0)                     AS correct_answers,
CAST(s.correct_answers AS double precision) / nullif(s.answers, 0) AS accuracy_rate,
CAST(s.response_ms AS double precision) / nullif(s.timed_answers, 0) AS average_response_ms,
coalesce(s.items_learned, 0)                       AS items_learned,
coalesce(s.items_reviewed, 0)                      AS items_reviewed,
coalesce(s.reviews, 0)                             AS reviews,
coalesce(s.new_mastery_count, 0)                   AS new_mastery_count,
CAST(s.scores AS double precision) / nullif(s.scored_sessions, 0) AS average_score

-- days --
-- The rows of a range of days, both ends inclusive.
SELECT
    s.day                                              AS date,
    {read_models/daily_stats stat_fields}
FROM daily_stats s
WHERE s.user_id = :user_id AND s.day BETWEEN :first_day AND :last_day
ORDER BY s.day;

-- range --
-- The days of a range, both ends inclusive, also those without activity; no row if the learner has no events.
SELECT
    asked.day                                          AS date,
    {read_models/daily_stats stat_fields}
FROM (
    SELECT CAST(:first_day AS date) + n AS day
    FROM generate_series(0, CAST(:last_day AS date) - CAST(:first_day AS date)) AS n
) AS asked
LEFT JOIN daily_stats s ON s.user_id = :user_id AND s.day = asked.day
WHERE EXISTS (SELECT FROM user_progress p WHERE p.user_id = :user_id)
ORDER BY asked.day;

-- months --
-- The calendar months whose first day lies in the range, each with all its days. The last month may end up to 30 days
-- after the range, so these days are read, too.
WITH days AS (
    SELECT d.*, d.day - CAST(extract(day FROM d.day) AS integer) + 1 AS month
    FROM daily_stats d
    WHERE d.user_id = :user_id
      AND d.day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date) + 30
),
reviewed AS (
    SELECT month, count(*) AS items
    FROM (
        SELECT DISTINCT
            a.day - CAST(extract(day FROM a.day) AS integer) + 1 AS month, a.item_id
        FROM item_days a
        JOIN item_stats s ON s.user_id = a.user_id AND s.item_id = a.item_id
        WHERE a.user_id = :user_id
          AND a.day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date) + 30
          AND a.day > s.first_answered_on
    ) AS items
    GROUP BY month
), slipped AS (
    SELECT f.day - CAST(extract(day FROM f.day) AS integer) + 1 AS month, count(DISTINCT f.item_id) AS items
    FROM ({read_models/reviews slipped back}) f
    GROUP BY 1
)
SELECT
    s.month                                            AS start,
    CAST(s.month + INTERVAL '1 month' AS date) - 1     AS "end",
    s.active_days,
    {read_models/daily_stats stat_fields},
    coalesce(slipped.items, 0)                         AS slipped_back
FROM (
    SELECT month, count(*) FILTER (WHERE {read_models/daily_stats is_study_day}) AS active_days,
        min(reviewed.items) AS items_reviewed,
        {read_models/daily_stats sums}
    FROM days d LEFT JOIN reviewed USING (month)
    WHERE month BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
    GROUP BY month
) s
LEFT JOIN slipped USING (month)
ORDER BY s.month;

-- export daily --
-- One row for each day on which you studied. Days are days of your own time zone. | 学習した日ごとに1行です。日付はあなたのタイムゾーンでの日付です。
COPY (
    SELECT s.day AS date,
        {read_models/daily_stats stat_fields}
    FROM daily_stats s
    WHERE s.user_id = current_setting('export.learner')
    ORDER BY s.day
) TO STDOUT (FORMAT csv, HEADER);
