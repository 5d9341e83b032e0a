-- The number of retention tests, and how many of them were answered correctly (recalled), by week and maturity.
-- sql/analysis/log.sql defines tests and maturity.

-- create --
CREATE TABLE cells (week DATE, maturity VARCHAR, learners BIGINT, asked BIGINT, recalled BIGINT);

-- add --
-- Insert the numbers of one group of buckets. All events of a learner are in one bucket, so the numbers of learners in
-- different buckets can be added up.
INSERT INTO cells
SELECT CAST(date_trunc('week', day) AS DATE) AS week, maturity,
    count(DISTINCT user_id), count(*), count(*) FILTER (WHERE recalled)
FROM tests
WHERE day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
GROUP BY ALL;

-- rows --
SELECT CAST(week AS VARCHAR) AS week, maturity, CAST(sum(learners) AS BIGINT) AS learners,
    CAST(sum(asked) AS BIGINT) AS asked, CAST(sum(recalled) AS BIGINT) AS recalled,
    sum(recalled) / sum(asked) AS retention_rate
FROM cells
GROUP BY ALL
HAVING sum(learners) >= $fewest
ORDER BY week, maturity;
