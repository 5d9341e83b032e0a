-- The rows of `progress analyse retention`, one for each week and maturity. `week` is the Monday of the week. `asked`
-- counts the tests (docs/analysis.md), `recalled` the tests with a correct answer.
SELECT
    DATE_TRUNC(day, ISOWEEK) AS week,
    maturity,
    COUNT(DISTINCT user_id) AS learners,
    COUNT(*) AS asked,
    COUNTIF(correct) AS recalled,
    COUNTIF(correct) / COUNT(*) AS retention_rate
FROM ${learner_events}
WHERE maturity IS NOT NULL
GROUP BY week, maturity
HAVING COUNT(DISTINCT user_id) >= ${fewest_learners}
