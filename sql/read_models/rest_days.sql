-- One row per learner and rest day. The rest days of an ISO week are the two earliest dates of that week in the
-- learner's RestDayTaken events.

-- table --
CREATE TABLE rest_days (
    user_id text COLLATE "C" NOT NULL,
    day     date NOT NULL,
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 90);

-- window --
-- The days that became rest days, and the days that stopped being rest days because the week has an earlier date now.
CREATE TEMPORARY TABLE window_rest_days (
    user_id varchar(200) COLLATE "C", day date, is_rest boolean
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_rest_days;

-- fold --
-- Only the two earliest dates of a week are stored. The others are never needed, because no event removes a date.
IF 'rest_day' = ANY (window_kinds) THEN
WITH arrived AS MATERIALIZED (
    SELECT DISTINCT user_id, rest_day AS day, rest_day - (rest_day - date '1990-01-01') % 7 AS monday
    FROM window_facts
    WHERE kind = 'rest_day'
), ranked AS (
    SELECT user_id, day, bool_or(had) AS had, row_number() OVER (PARTITION BY user_id, monday ORDER BY day) <= 2 AS has
    FROM (
        SELECT user_id, day, monday, false AS had FROM arrived
        UNION ALL
        SELECT w.user_id, old.day, w.monday, true
        FROM (SELECT DISTINCT user_id, monday FROM arrived) w
        CROSS JOIN LATERAL (
            SELECT r.day
            FROM rest_days r
            WHERE r.user_id = w.user_id AND r.day BETWEEN w.monday AND w.monday + 6 AND has_past
            OFFSET 0
        ) old
    ) dates
    GROUP BY user_id, monday, day
)
INSERT INTO window_rest_days SELECT user_id, day, has FROM ranked WHERE had <> has;

INSERT INTO rest_days SELECT user_id, day FROM window_rest_days WHERE is_rest ORDER BY user_id, day;

DELETE FROM rest_days r
USING window_rest_days w
WHERE NOT w.is_rest AND r.user_id = w.user_id AND r.day = w.day;
END IF;

-- definition --
-- 1990-01-01 was a Monday.
SELECT user_id, day
FROM (
    SELECT user_id, day, row_number() OVER (PARTITION BY user_id, monday ORDER BY day) AS place
    FROM (
        SELECT DISTINCT e.user_id, e.rest_day AS day,
            e.rest_day - CAST((e.rest_day - DATE '1990-01-01') % 7 AS integer) AS monday
        FROM facts e
        WHERE e.kind = 'rest_day'
          AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
    ) taken
) ranked
WHERE place <= 2

-- range --
SELECT day AS rest_days
FROM rest_days
WHERE user_id = :user_id AND day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
ORDER BY day;

-- export rest_days --
-- One row for each rest day. In each week, only the two earliest of the days that you chose as rest days count.
-- | 休養日ごとに1行です。休養日として選んだ日のうち、各週で早い方の2日だけが休養日になります。
COPY (
    SELECT day AS date
    FROM rest_days
    WHERE user_id = current_setting('export.learner')
    ORDER BY day
) TO STDOUT (FORMAT csv, HEADER);
