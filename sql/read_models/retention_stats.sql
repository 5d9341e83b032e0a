-- The results of tests of retention: one row per learner, local day of the test, and maturity. The first answer of the
-- gap after a review (see reviews.sql) is a test if two conditions hold: the review has an interval of at least one
-- day, and the answer has a later local day than the review. The review's interval decides the maturity: YOUNG is 1 to
-- 20 days, MATURE is 21 days or more.

-- table --
CREATE TABLE retention_stats (
    user_id  text COLLATE "C" NOT NULL,
    day      date   NOT NULL,
    maturity text COLLATE "C" NOT NULL,
    asked    bigint NOT NULL,
    recalled bigint NOT NULL,
    PRIMARY KEY (user_id, day, maturity)
) WITH (fillfactor = 60);

-- fold --
-- A late event adds or removes tests only in the gaps next to it.
WITH changes AS (
    SELECT user_id, coalesce(asked_on, closed_on) AS day, had_interval_days AS days,
        coalesce(asked_grade, closed_grade) >= 2 AS recalled, 1 AS change
    FROM window_items
    WHERE is_test
    UNION ALL
    SELECT user_id, day, days_before, grade >= 2, change
    FROM window_chains
    WHERE {read_models/retention_stats is_test}
)
INSERT INTO retention_stats AS r
SELECT user_id, day, CASE WHEN days < 21 THEN 'YOUNG' ELSE 'MATURE' END AS maturity,
    sum(change) AS asked, coalesce(sum(change) FILTER (WHERE recalled), 0) AS recalled
FROM changes
GROUP BY 1, 2, 3
HAVING sum(change) <> 0 OR sum(change) FILTER (WHERE recalled) <> 0
ORDER BY 1, 2, 3     -- every worker takes locks in the same order
ON CONFLICT (user_id, day, maturity) DO UPDATE SET
    asked    = r.asked    + excluded.asked,
    recalled = r.recalled + excluded.recalled;

DELETE FROM retention_stats
WHERE ctid = ANY (ARRAY(
    SELECT r.ctid
    FROM window_chains c
    CROSS JOIN LATERAL (
        SELECT r.ctid FROM retention_stats r WHERE r.user_id = c.user_id AND r.day = c.day AND r.asked = 0 OFFSET 0
    ) r
    WHERE c.change = -1 AND {read_models/retention_stats is_test}));

-- is_test --
-- Whether a row of chained_facts is the answer of a test.
is_first AND days_before >= 1 AND day_before < day

-- is_lapse --
-- Whether a row of chained_facts is the answer of a test that was not recalled.
{read_models/retention_stats is_test} AND grade < 2

-- definition --
SELECT user_id, day, CASE WHEN days_before < 21 THEN 'YOUNG' ELSE 'MATURE' END AS maturity,
    count(*) AS asked, count(*) FILTER (WHERE grade >= 2) AS recalled
FROM chained_facts
WHERE {read_models/retention_stats is_test}
GROUP BY user_id, day, CASE WHEN days_before < 21 THEN 'YOUNG' ELSE 'MATURE' END

-- retention_fields --
day AS date,
maturity,
asked,
recalled,
CAST(recalled AS double precision) / asked AS retention_rate

-- periods --
-- The days, weeks or months (:by) that have a test and whose first day lies in the range. The last period may end up to
-- 30 days after the range, because a month ends at most 30 days after its first day. Weeks begin on Monday, and
-- 1990-01-01 was a Monday.
SELECT start,
    CASE CAST(:by AS text)
        WHEN 'WEEK' THEN start + 6
        WHEN 'MONTH' THEN CAST(start + INTERVAL '1 month' AS date) - 1
        ELSE start END                                     AS "end",
    young_asked,
    young_recalled,
    CAST(young_recalled AS double precision) / nullif(young_asked, 0)   AS young_rate,
    mature_asked,
    mature_recalled,
    CAST(mature_recalled AS double precision) / nullif(mature_asked, 0) AS mature_rate
FROM (
    SELECT start,
        CAST(coalesce(sum(asked)    FILTER (WHERE maturity = 'YOUNG'), 0) AS bigint)  AS young_asked,
        CAST(coalesce(sum(recalled) FILTER (WHERE maturity = 'YOUNG'), 0) AS bigint)  AS young_recalled,
        CAST(coalesce(sum(asked)    FILTER (WHERE maturity = 'MATURE'), 0) AS bigint) AS mature_asked,
        CAST(coalesce(sum(recalled) FILTER (WHERE maturity = 'MATURE'), 0) AS bigint) AS mature_recalled
    FROM (
        SELECT maturity, asked, recalled,
            CASE CAST(:by AS text)
                WHEN 'WEEK' THEN day - (day - DATE '1990-01-01') % 7
                WHEN 'MONTH' THEN day - CAST(extract(day FROM day) AS integer) + 1
                ELSE day END AS start
        FROM retention_stats
        WHERE user_id = :user_id
          AND day BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date) + 30
    ) tests
    WHERE start BETWEEN CAST(:first_day AS date) AND CAST(:last_day AS date)
    GROUP BY start
) periods
ORDER BY start;

-- export retention --
-- How often you still knew an item when you were asked again. One row for each day and each maturity of the items.
-- | もう一度たずねられたときに項目を覚えていた割合です。日と定着度（maturity）ごとに1行です。
COPY (
    SELECT {read_models/retention_stats retention_fields}
    FROM retention_stats
    WHERE user_id = current_setting('export.learner')
    ORDER BY date, maturity DESC
) TO STDOUT (FORMAT csv, HEADER);
