-- One row per learner, item and local day with an answer.

-- table --
CREATE TABLE item_days (
    user_id         text COLLATE "C" NOT NULL,
    item_id         text COLLATE "C" NOT NULL,
    day             date NOT NULL,
    answers         int  NOT NULL,
    correct_answers int  NOT NULL,
    PRIMARY KEY (user_id, item_id, day)
) WITH (fillfactor = 90);

-- window --
-- How much the window adds to the items_reviewed of each day; may be negative.
CREATE TEMPORARY TABLE window_reviewed (
    user_id varchar(200) COLLATE "C", day date, items_reviewed bigint
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_reviewed;

-- fold --
-- An item counts as reviewed on a day if it has an answer on this day, and if its first answer was on an earlier day.
-- If the day of the first answer changes, items_reviewed changes on the days between the former and the new day, and
-- on the later of these two days.
INSERT INTO window_reviewed
SELECT i.user_id, d.day, CASE WHEN d.day > i.first_on THEN 1 ELSE -1 END
FROM (
    SELECT user_id, item_id, had_answered_on, coalesce(first_answered_on, 'infinity') AS first_on FROM window_items
) i
CROSS JOIN LATERAL (
    SELECT d.day
    FROM item_days d
    WHERE d.user_id = i.user_id AND d.item_id = i.item_id
      AND d.day > least(i.had_answered_on, i.first_on) AND d.day <= greatest(i.had_answered_on, i.first_on)
    OFFSET 0
) d
WHERE has_past AND i.had_answered_on <> i.first_on;

-- Rows are updated by their ctid (`place`), because the table has no key during a rebuild.
WITH arrived AS MATERIALIZED (
    SELECT f.user_id, f.item_id, f.day, f.answers, f.correct_answers, old.place
    FROM (
        SELECT user_id, item_id, day, sum(change) AS answers,
            coalesce(sum(change) FILTER (WHERE correct), 0) AS correct_answers
        FROM window_facts
        WHERE grade IS NOT NULL
        GROUP BY day, item_id, user_id
    ) f
    LEFT JOIN LATERAL (
        SELECT d.ctid AS place
        FROM item_days d
        WHERE d.user_id = f.user_id AND d.item_id = f.item_id AND d.day = f.day AND has_past
        OFFSET 0
    ) old ON true
), kept AS (
    INSERT INTO item_days
    SELECT user_id, item_id, day, answers, correct_answers
    FROM arrived
    WHERE place IS NULL
), added AS (
    UPDATE item_days d
    SET answers = d.answers + a.answers, correct_answers = d.correct_answers + a.correct_answers
    FROM arrived a
    WHERE d.ctid = a.place
)
INSERT INTO window_reviewed
SELECT a.user_id, a.day, count(*)
FROM arrived a
JOIN window_items i ON i.item_id = a.item_id AND i.user_id = a.user_id
WHERE a.place IS NULL AND a.day > i.first_answered_on
GROUP BY a.day, a.user_id;

-- Delete each day whose answers are all retracted.
IF 'retracted' = ANY (window_kinds) THEN
    WITH emptied AS (
        DELETE FROM item_days
        WHERE ctid = ANY (ARRAY(
            SELECT d.ctid
            FROM window_facts f
            CROSS JOIN LATERAL (
                SELECT d.ctid
                FROM item_days d
                WHERE d.user_id = f.user_id AND d.item_id = f.item_id AND d.day = f.day AND d.answers = 0
                OFFSET 0
            ) d
            WHERE f.change < 0))
        RETURNING user_id, item_id, day
    )
    INSERT INTO window_reviewed
    SELECT e.user_id, e.day, -1
    FROM emptied e
    JOIN window_items i ON i.item_id = e.item_id AND i.user_id = e.user_id
    WHERE e.day > i.first_answered_on;
END IF;

-- definition --
SELECT user_id, item_id, day, CAST(count(*) AS int) AS answers,
    CAST(count(*) FILTER (WHERE correct) AS int) AS correct_answers
FROM dated_facts
WHERE kind = 'answer'
GROUP BY user_id, item_id, day

-- snapshot --
(SELECT jsonb_object_agg(item_id, days)
 FROM (
     SELECT t.item_id, array_agg(t.day)::text AS days FROM item_days t WHERE t.user_id = learner GROUP BY t.item_id
 ) d)

-- history --
-- An item's reviews, and its days with answers, in the last 731 local days, newest first; at most 1,000 reviews. A row
-- has either the columns of a review or the columns of a day. The query first reads the reviews of the last 731 + 4
-- periods of 24 hours, and then selects those of the 731 local days. Four extra days are enough, because a change of
-- zone moves a local day by less than three days.
WITH today AS (
    {read_models/preferences today}
),
shifts AS (
    SELECT starts_at, ends_at, shift
    FROM segments
    WHERE user_id = :user_id
      AND starts_at < CAST(:now AS timestamptz) + INTERVAL '96 hours'
      AND ends_at > CAST(:now AS timestamptz) - (731 + 4) * INTERVAL '24 hours'
),
recent AS (
    SELECT r.occurred_at, r.event_id, r.interval_days
    FROM today
    CROSS JOIN reviews r
    LEFT JOIN shifts s ON r.occurred_at >= s.starts_at AND r.occurred_at < s.ends_at
    WHERE r.user_id = :user_id AND r.item_id = :item_id
      AND r.occurred_at > CAST(:now AS timestamptz) - (731 + 4) * INTERVAL '24 hours'
      AND CAST(r.occurred_at + coalesce(s.shift, INTERVAL '0 hours') AS date)
          BETWEEN today.day - 730 AND today.day
    ORDER BY r.occurred_at DESC, r.event_id DESC
    LIMIT 1000
)
SELECT
    r.occurred_at                                      AS at,
    r.event_id,
    r.interval_days,
    (SELECT CAST(e.event_data ->> 'easiness_factor' AS double precision)
     FROM event_store.events e
     WHERE e.event_id = r.event_id AND e.event_type = 'ReviewProcessed') AS easiness_factor,
    CAST(NULL AS date)                                 AS date,
    CAST(NULL AS int)                                  AS answers,
    CAST(NULL AS int)                                  AS correct_answers
FROM recent r
UNION ALL
SELECT NULL, NULL, NULL, NULL, d.day, d.answers, d.correct_answers
FROM item_days d
CROSS JOIN today
WHERE d.user_id = :user_id AND d.item_id = :item_id AND d.day BETWEEN today.day - 730 AND today.day
ORDER BY at DESC NULLS LAST, event_id DESC, date DESC;
