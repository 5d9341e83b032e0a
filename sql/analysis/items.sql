-- The numbers of retention tests and of answers, by item, level and domain. sql/analysis/log.sql defines these tests.
-- Learners who had no test of an item are left out of the item's numbers.

-- create --
-- An item that has fewer than $fewest learners in a group of buckets has a row for each of them; otherwise, it has one
-- row for the group, without user_id.
CREATE TABLE cells (
    item_id VARCHAR, user_id VARCHAR, learners BIGINT, asked BIGINT, recalled BIGINT, answers BIGINT, correct BIGINT
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
), learned AS (
    SELECT t.*, a.answers, a.correct, count(*) OVER (PARTITION BY t.item_id) AS learners
    FROM tested t
    JOIN answered a ON a.user_id = t.user_id AND a.item_id = t.item_id
)
SELECT item_id, CASE WHEN learners < $fewest THEN user_id END AS learner, count(*),
    sum(asked), sum(recalled), sum(answers), sum(correct)
FROM learned
GROUP BY item_id, learner;

-- counted --
CREATE TABLE counted AS
SELECT item_id, sum(learners) AS learners, sum(asked) AS asked, sum(recalled) AS recalled,
    sum(answers) AS answers, sum(correct) AS correct, sum(learners) >= $fewest AS is_shown
FROM cells
GROUP BY item_id;

-- places --
-- Each counted item has one level and one or more domains.
CREATE TABLE places AS
SELECT c.item_id, k.kind, coalesce(p.name, 'UNKNOWN') AS name
FROM counted c
CROSS JOIN (VALUES ('level'), ('domain')) AS k (kind)
LEFT JOIN item_places p ON p.item_id = c.item_id AND p.kind = k.kind;

-- hidden --
-- The learners of the items that are not shown, by the items' level and domains.
WITH placed AS (
    SELECT item_id, any_value(name) FILTER (WHERE kind = 'level') AS level,
        list(name ORDER BY name) FILTER (WHERE kind = 'domain') AS domains
    FROM places
    GROUP BY item_id
)
SELECT p.level, p.domains, list(DISTINCT c.user_id)
FROM cells c
JOIN counted USING (item_id)
JOIN placed p USING (item_id)
WHERE NOT is_shown
GROUP BY p.level, p.domains;

-- rows --
-- Items come first, by ascending retention rate, then the levels, then the domains in the order R W L S. Levels and
-- domains also count the items that are not shown, except those that $left_out names: there, a reader could subtract
-- the shown items. An item with several domains counts in each of its domains.
WITH hidden_learners AS (
    SELECT kind, name, count(DISTINCT user_id) AS learners
    FROM cells
    JOIN counted USING (item_id)
    JOIN places USING (item_id)
    WHERE NOT is_shown
    GROUP BY ALL
), named AS (
    SELECT 'item' AS kind, c.item_id AS name, true AS is_whole, c.learners AS most, c.*
    FROM counted c
    WHERE is_shown
    UNION ALL
    SELECT p.kind, p.name, NOT list_contains($left_out, p.kind || ' ' || p.name) AS is_whole,
        CASE WHEN is_shown THEN c.learners ELSE h.learners END, c.*
    FROM counted c
    JOIN places p USING (item_id)
    LEFT JOIN hidden_learners h ON h.kind = p.kind AND h.name = p.name
), sums AS (
    SELECT kind, name, is_whole, CAST(max(most) AS BIGINT) AS learners, CAST(sum(asked) AS BIGINT) AS asked,
        CAST(sum(recalled) AS BIGINT) AS recalled, sum(recalled) / sum(asked) AS retention_rate,
        CAST(sum(answers) AS BIGINT) AS answers, CAST(sum(correct) AS BIGINT) AS correct_answers
    FROM named
    WHERE is_shown OR is_whole
    GROUP BY ALL
)
SELECT s.kind, s.name, nullif(i.headword, '') AS headword,
    CASE WHEN s.kind = 'item' THEN coalesce(i.level, 'UNKNOWN') END AS level,
    CASE WHEN s.kind = 'item' THEN coalesce(nullif(i.domains, ''), 'UNKNOWN') END AS domains,
    s.learners, s.asked, s.recalled, s.retention_rate, s.answers, s.correct_answers, s.is_whole AS complete
FROM sums s
LEFT JOIN items i ON s.kind = 'item' AND i.item_id = s.name
ORDER BY strpos('ild', left(s.kind, 1)), CASE WHEN s.kind = 'item' THEN s.retention_rate END,
    CASE WHEN s.kind = 'domain' THEN strpos('RWLSU', left(s.name, 1)) END, s.name;
