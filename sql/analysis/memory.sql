-- The estimated recall and the results of tests, by the age of the item and the stability of its memory. A test is an
-- answer on a later local day than the item's answer before it (sql/read_models/memory.sql).

-- create --
CREATE TABLE cells (
    age_from INTEGER, stability_from INTEGER, gap_bin INTEGER, answers_bin INTEGER, lapses_bin INTEGER,
    learners BIGINT, tests BIGINT, recalled BIGINT, estimated BIGINT, loss BIGINT
);

-- add --
-- Insert the numbers of one group of buckets, for each class and for each bin of each class. In the rows of a class,
-- the bins are null. All events of a learner are in one bucket, so the numbers of learners in different buckets can be
-- added up. `estimated` and `loss` are sums in millionths.
--
-- The bins are those of RMSE (bins) in srs-benchmark: the logarithms of the gap, of the number of answers (without
-- those on the day of the answer before, but with the test) and of the number of lapses (wrong tests before).
INSERT INTO cells
WITH classes (first_day, end_day) AS (
    VALUES (0, 1), (1, 7), (7, 30), (30, 90), (90, 365), (365, CAST('Infinity' AS double precision))
), answers AS (
    SELECT user_id, day, correct, gap AS t, exp(stability_before / {read_models/memory unit}) AS s,
        greatest(day - first_value(day) OVER earlier, 1) AS age,
        1 + count(*) FILTER (WHERE gap > 0) OVER earlier AS answers,
        count(*) FILTER (WHERE gap > 0 AND NOT correct) OVER earlier - CASE WHEN correct THEN 0 ELSE 1 END AS lapses
    FROM remembered_answers
    WINDOW earlier AS (PARTITION BY user_id, item_id ORDER BY occurred_at, event_id ROWS UNBOUNDED PRECEDING)
), estimates AS (
    SELECT *, {read_models/memory recall_at} AS estimate, least(greatest(estimate, 0.001), 0.999) AS limited
    FROM answers
    WHERE t > 0 AND day BETWEEN CAST($first_day AS DATE) AND CAST($last_day AS DATE)
), tested AS (
    SELECT user_id, correct, a.first_day AS age_from, b.first_day AS stability_from,
        floor(ln(t) / ln(3.62)) AS gap_bin, floor(ln(answers) / ln(1.89)) AS answers_bin,
        CASE WHEN lapses > 0 THEN floor(ln(lapses) / ln(1.73)) ELSE -1 END AS lapses_bin,
        CAST(round(1000000 * estimate) AS BIGINT) AS estimated,
        CAST(round(-1000000 * ln(CASE WHEN correct THEN limited ELSE 1 - limited END)) AS BIGINT) AS loss
    FROM estimates
    JOIN classes a ON age >= a.first_day AND age < a.end_day
    JOIN classes b ON s >= b.first_day AND s < b.end_day
)
SELECT age_from, stability_from, gap_bin, answers_bin, lapses_bin, count(DISTINCT user_id), count(*),
    count(*) FILTER (WHERE correct), sum(estimated), sum(loss)
FROM tested
GROUP BY GROUPING SETS (
    (age_from, stability_from), (age_from, stability_from, gap_bin, answers_bin, lapses_bin)
);

-- rows --
-- The sum of all classes comes first, then the ages, then the stabilities, then the classes. Sums count only the shown
-- classes; otherwise, the difference between a sum and its shown classes would disclose the hidden classes. The
-- constant is the share of all these tests that were recalled.
WITH shown AS (
    SELECT age_from, stability_from, sum(learners) AS learners
    FROM cells
    WHERE gap_bin IS NULL
    GROUP BY ALL
    HAVING sum(learners) >= $fewest
), bins AS (
    SELECT age_from, stability_from, max(s.learners) AS learners, sum(c.tests) AS tests, sum(c.recalled) AS recalled,
        sum(c.estimated) / 1e6 AS estimated, sum(c.loss) / 1e6 AS loss
    FROM cells c
    JOIN shown s USING (age_from, stability_from)
    WHERE gap_bin IS NOT NULL
    GROUP BY GROUPING SETS (
        (gap_bin, answers_bin, lapses_bin), (age_from, gap_bin, answers_bin, lapses_bin),
        (stability_from, gap_bin, answers_bin, lapses_bin),
        (age_from, stability_from, gap_bin, answers_bin, lapses_bin)
    )
), constant AS (
    SELECT sum(recalled) / sum(tests) AS estimate, least(greatest(estimate, 0.001), 0.999) AS limited
    FROM bins
    WHERE age_from IS NULL AND stability_from IS NULL
)
SELECT age_from, stability_from, CAST(max(learners) AS BIGINT) AS learners, CAST(sum(tests) AS BIGINT) AS tests,
    CAST(sum(recalled) AS BIGINT) AS recalled, sum(recalled) / sum(tests) AS actual_recall,
    sum(estimated) / sum(tests) AS estimated_recall, sum(loss) / sum(tests) AS log_loss,
    -(sum(recalled) * ln(limited) + sum(tests - recalled) * ln(1 - limited)) / sum(tests) AS constant_log_loss,
    sqrt(sum((estimated - recalled) ** 2 / tests) / sum(tests)) AS rmse_bins,
    sqrt(sum((estimate * tests - recalled) ** 2 / tests) / sum(tests)) AS constant_rmse_bins
FROM bins
CROSS JOIN constant
GROUP BY age_from, stability_from, estimate, limited
ORDER BY stability_from IS NOT NULL, age_from IS NOT NULL, age_from, stability_from;
