-- The retention tests by week, maturity, and level or domain of the item. A level or domain has no row if a sum
-- or difference of rows, those of retention.sql among them, could tell of fewer than $fewest learners.

-- create --
-- A row of the kind `place` counts the tests in a level or domain. A row of the kind `cell` counts those of the items
-- with the same places: one level, or the same domains. A cell with fewer than $fewest learners in a group of buckets
-- has a row for each of them; otherwise, it has one row for the group, without user_id.
CREATE TABLE cells (
    kind VARCHAR, week DATE, maturity VARCHAR, places VARCHAR[], user_id VARCHAR, learners BIGINT, asked BIGINT,
    recalled BIGINT
);

-- add --
-- Insert the numbers of one group of buckets. All events of a learner are in one bucket, so the numbers of learners in
-- different buckets can be added up.
INSERT INTO cells
WITH placed AS (
    SELECT item_id, list(name ORDER BY name) AS places FROM item_places WHERE kind = $by GROUP BY item_id
), tested AS (
    SELECT CAST(date_trunc('week', day) AS DATE) AS week, maturity, coalesce(p.places, ['UNKNOWN']) AS places, user_id,
        count(*) AS asked, count(*) FILTER (WHERE recalled) AS recalled
    FROM tests t
    LEFT JOIN placed p ON p.item_id = t.item_id
    WHERE day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
    GROUP BY ALL
), counted AS (
    SELECT *, count(*) OVER (PARTITION BY week, maturity, places) AS learners FROM tested
), in_places AS (
    SELECT week, maturity, unnest(places) AS place, user_id, asked, recalled FROM tested
)
SELECT 'cell', week, maturity, places, CASE WHEN learners < $fewest THEN user_id END AS learner, count(*), sum(asked),
    sum(recalled)
FROM counted
GROUP BY week, maturity, places, learner
UNION ALL
SELECT 'place', week, maturity, [place], NULL, count(DISTINCT user_id), sum(asked), sum(recalled)
FROM in_places
GROUP BY week, maturity, place;

-- hidden --
-- The cells of each week and maturity with a cell of fewer than $fewest learners, and these learners. Of a cell with
-- more, $fewest names stand for its learners.
WITH summed AS (
    SELECT week, maturity, places, sum(learners) AS learners, list(user_id) FILTER (WHERE user_id IS NOT NULL) AS users
    FROM cells
    WHERE kind = 'cell'
    GROUP BY ALL
)
SELECT CAST(week AS VARCHAR), maturity, places,
    CASE WHEN learners < $fewest THEN users ELSE [CAST(n AS VARCHAR) FOR n IN range($fewest)] END
FROM summed
QUALIFY min(learners) OVER (PARTITION BY week, maturity) < $fewest
ORDER BY ALL;

-- rows --
SELECT CAST(week AS VARCHAR) AS week, maturity, CAST(sum(learners) AS BIGINT) AS learners,
    CAST(sum(asked) AS BIGINT) AS asked, CAST(sum(recalled) AS BIGINT) AS recalled,
    sum(recalled) / sum(asked) AS retention_rate, places[1] AS name
FROM cells
WHERE kind = 'place' AND NOT list_contains($left_out, CAST(week AS VARCHAR) || ' ' || maturity || ' ' || places[1])
GROUP BY ALL
HAVING sum(learners) >= $fewest
ORDER BY week, maturity, name;
