-- The rows of `progress analyse items`: one row for each item, one for each level, and one for each domain. An item's
-- row counts the tests of the item (docs/analysis.md), and all answers to the item by the learners who had a test of
-- it. An item's level and domains come from its latest description. The row of a level or domain sums only the items
-- that have enough learners to be shown. Otherwise, the difference between a level and its shown items would disclose
-- the hidden items.
WITH descriptions AS (
    SELECT
        item_id,
        JSON_VALUE(event_data, '$.headword') AS headword,
        JSON_VALUE(event_data, '$.cefr_level') AS level,
        JSON_VALUE_ARRAY(event_data, '$.domains') AS domains
    FROM ${accepted_events}
    WHERE event_type IN ('ItemPublished', 'ItemUpdated')
    QUALIFY ROW_NUMBER() OVER (PARTITION BY item_id ORDER BY occurred_at DESC, event_id DESC) = 1
),

pairs AS (
    SELECT
        user_id,
        item_id,
        COUNTIF(maturity IS NOT NULL) AS asked,
        COUNTIF(maturity IS NOT NULL AND correct) AS recalled,
        COUNT(*) AS answers,
        COUNTIF(correct) AS correct_answers
    FROM ${learner_events}
    WHERE event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven')
    GROUP BY user_id, item_id
    HAVING COUNTIF(maturity IS NOT NULL) > 0
),

shown AS (
    SELECT
        item_id,
        COUNT(*) AS learners,
        SUM(asked) AS asked,
        SUM(recalled) AS recalled,
        SUM(answers) AS answers,
        SUM(correct_answers) AS correct_answers
    FROM pairs
    GROUP BY item_id
    HAVING COUNT(*) >= ${fewest_learners}
),

named AS (
    SELECT s.*, 'item' AS kind, s.item_id AS name
    FROM shown AS s
    UNION ALL
    SELECT s.*, 'level', COALESCE(d.level, 'UNKNOWN')
    FROM shown AS s
    LEFT JOIN descriptions AS d ON d.item_id = s.item_id
    UNION ALL
    SELECT s.*, 'domain', name
    FROM shown AS s
    LEFT JOIN descriptions AS d ON d.item_id = s.item_id
    CROSS JOIN UNNEST(IF(ARRAY_LENGTH(d.domains) > 0, d.domains, ['UNKNOWN'])) AS name
),

counted AS (
    SELECT
        kind,
        name,
        MAX(learners) AS learners,
        SUM(asked) AS asked,
        SUM(recalled) AS recalled,
        SUM(recalled) / SUM(asked) AS retention_rate,
        SUM(answers) AS answers,
        SUM(correct_answers) AS correct_answers
    FROM named
    GROUP BY kind, name
)

SELECT c.*, d.headword, IF(c.kind = 'item', COALESCE(d.level, 'UNKNOWN'), NULL) AS level, d.domains
FROM counted AS c
LEFT JOIN descriptions AS d ON c.kind = 'item' AND d.item_id = c.name
