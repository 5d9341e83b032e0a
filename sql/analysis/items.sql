-- The numbers of retention tests and of answers, by item, level and domain. sql/analysis/log.sql defines these tests.
-- Learners who had no test of an item are left out of the item's numbers.

-- create --
CREATE TABLE cells (
    item_id VARCHAR, learners BIGINT, asked BIGINT, recalled BIGINT, answers BIGINT, correct BIGINT
);

-- add --
-- Insert the numbers of one group of buckets. All events of a learner are in one bucket, so the numbers of learners in
-- different buckets can be added up.
INSERT INTO cells
WITH tested AS (
    SELECT user_id, item_id, count(*) AS asked, count(*) FILTER (WHERE recalled) AS recalled
    FROM tests
    WHERE day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
    GROUP BY ALL
), answered AS (
    SELECT user_id, item_id, count(*) AS answers, count(*) FILTER (WHERE correct) AS correct
    FROM dated_facts
    WHERE kind = 'answer' AND day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
    GROUP BY ALL
)
SELECT t.item_id, count(*), sum(t.asked), sum(t.recalled), sum(a.answers), sum(a.correct)
FROM tested t
JOIN answered a ON a.user_id = t.user_id AND a.item_id = t.item_id
GROUP BY t.item_id;

-- rows --
-- Items come first, by ascending retention rate, then the levels, then the domains in the order R W L S. Levels and
-- domains count only the shown items; otherwise, the difference between a level and its shown items would disclose the
-- hidden items. An item with several domains counts in each of its domains.
WITH shown AS (
    SELECT item_id, sum(learners) AS learners, sum(asked) AS asked, sum(recalled) AS recalled,
        sum(answers) AS answers, sum(correct) AS correct
    FROM cells
    GROUP BY item_id
    HAVING sum(learners) >= $fewest
), named AS (
    SELECT 'item' AS kind, s.item_id AS name, s.* FROM shown s
    UNION ALL
    SELECT k.kind, coalesce(p.name, 'UNKNOWN'), s.*
    FROM shown s
    CROSS JOIN (VALUES ('level'), ('domain')) AS k (kind)
    LEFT JOIN item_places p ON p.item_id = s.item_id AND p.kind = k.kind
), sums AS (
    SELECT kind, name, CAST(max(learners) AS BIGINT) AS learners, CAST(sum(asked) AS BIGINT) AS asked,
        CAST(sum(recalled) AS BIGINT) AS recalled, sum(recalled) / sum(asked) AS retention_rate,
        CAST(sum(answers) AS BIGINT) AS answers, CAST(sum(correct) AS BIGINT) AS correct_answers
    FROM named
    GROUP BY ALL
)
SELECT s.kind, s.name, i.headword,
    CASE WHEN s.kind = 'item' THEN coalesce(i.level, 'UNKNOWN') END AS level,
    CASE WHEN s.kind = 'item' THEN coalesce(nullif(i.domains, ''), 'UNKNOWN') END AS domains,
    s.learners, s.asked, s.recalled, s.retention_rate, s.answers, s.correct_answers
FROM sums s
LEFT JOIN items i ON s.kind = 'item' AND i.item_id = s.name
ORDER BY strpos('ild', left(s.kind, 1)), CASE WHEN s.kind = 'item' THEN s.retention_rate END,
    CASE WHEN s.kind = 'domain' THEN strpos('RWLSU', left(s.name, 1)) END, s.name;
