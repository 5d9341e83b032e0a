-- One row per learner, local day and bin of predicted recall, with the day's tests: the answers with a gap of a day or
-- more to the answer before. The batch job folds this table every five minutes.

-- table --
CREATE TABLE calibration_days (
    user_id   text COLLATE "C" NOT NULL,
    day       date   NOT NULL,
    bin       bigint NOT NULL,             -- 0 … 9: from 0.1 · bin
    tests     bigint NOT NULL,
    correct   bigint NOT NULL,
    predicted bigint NOT NULL,             -- sum, in millionths
    loss      bigint NOT NULL,             -- sum, in millionths: -ln of the probability that the answer had
    PRIMARY KEY (user_id, day, bin)
);

-- fold --
-- Compute the states of the changed learners once, for the next model, too.
INSERT INTO batch_answers
SELECT r.*
FROM batch_learners b
CROSS JOIN LATERAL (SELECT * FROM remembered_answers a WHERE a.user_id = b.user_id OFFSET 0) r;
ANALYZE batch_answers;

WITH remembered_answers AS NOT MATERIALIZED (
    SELECT * FROM batch_answers
), binned AS MATERIALIZED (
    {read_models/calibration_days binned}
), gone AS (
    DELETE FROM calibration_days t
    USING batch_learners b
    WHERE t.user_id = b.user_id
      AND NOT EXISTS (SELECT FROM binned n WHERE n.user_id = t.user_id AND n.day = t.day AND n.bin = t.bin)
)
INSERT INTO calibration_days AS t
SELECT user_id, day, bin, tests, correct, predicted, loss
FROM binned
ORDER BY user_id, day, bin
ON CONFLICT (user_id, day, bin) DO UPDATE SET
    tests     = excluded.tests,
    correct   = excluded.correct,
    predicted = excluded.predicted,
    loss      = excluded.loss
WHERE t IS DISTINCT FROM excluded;

-- definition --
SELECT user_id, day, bin, tests, correct, predicted, loss
FROM (
{read_models/calibration_days binned}
) b

-- binned --
-- No prediction is rounded to 1: the recall of the next day is 0.999996 at most, because S is limited.
SELECT user_id, day, CAST((predicted - predicted % 100000) / 100000 AS bigint) AS bin, count(*) AS tests,
    count(*) FILTER (WHERE correct) AS correct, CAST(sum(predicted) AS bigint) AS predicted,
    CAST(sum(loss) AS bigint) AS loss
FROM (
    SELECT user_id, day, correct, CAST(floor(1000000 * recall + 0.5) AS bigint) AS predicted,
        CAST(floor(-1000000 * ln(CASE WHEN correct THEN limited ELSE 1 - limited END) + 0.5) AS bigint) AS loss
    FROM (
        SELECT user_id, day, correct, recall, least(greatest(recall, 0.001), 0.999) AS limited
        FROM (
            SELECT user_id, day, correct, {read_models/memory recall_at} AS recall
            FROM (
                SELECT user_id, day, correct, gap AS t, exp(stability_before / {read_models/memory unit}) AS s
                FROM remembered_answers
                WHERE gap > 0
            ) a
        ) r
    ) l
) p
GROUP BY 1, 2, 3

-- of learner --
-- The learner's tests of the last 365 local days: one row for each bin with tests.
WITH today AS (
    {read_models/preferences today}
)
SELECT {read_models/calibration_days sums}
FROM calibration_days c
CROSS JOIN today
WHERE c.user_id = :user_id AND c.day BETWEEN today.day - 364 AND today.day
GROUP BY c.bin
ORDER BY c.bin;

-- of all --
-- The same over all learners, each by their own today; `learners` is the number of learners with tests in these days.
WITH recent AS MATERIALIZED (
    SELECT c.user_id, c.bin, c.tests, c.correct, c.predicted, c.loss
    FROM calibration_days c
    LEFT JOIN segments z ON z.user_id = c.user_id AND z.starts_at <= :now AND z.ends_at > :now
    CROSS JOIN LATERAL (
        SELECT CAST(CAST(:now AS timestamptz) + coalesce(z.shift, INTERVAL '0 hours') AS date) AS day
    ) AS today
    WHERE c.day BETWEEN today.day - 364 AND today.day
)
SELECT (SELECT count(DISTINCT user_id) FROM recent) AS learners, {read_models/calibration_days sums}
FROM recent c
GROUP BY c.bin
ORDER BY c.bin;

-- sums --
c.bin, CAST(sum(c.tests) AS bigint) AS tests, CAST(sum(c.correct) AS bigint) AS correct,
    CAST(sum(c.predicted) AS bigint) AS predicted, CAST(sum(c.loss) AS bigint) AS loss
