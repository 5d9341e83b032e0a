-- One row per learner and hour of the day (0 to 23) in which the learner has answered. The hour is local, in the time
-- zone that was in force at the time of the answer.

-- table --
CREATE TABLE hourly_stats (
    user_id         text COLLATE "C" NOT NULL,
    hour            int    NOT NULL,
    answers         bigint NOT NULL,
    correct_answers bigint NOT NULL,
    response_ms     bigint NOT NULL,
    timed_answers   bigint NOT NULL,
    PRIMARY KEY (user_id, hour)
) WITH (fillfactor = 60);

-- fold --
INSERT INTO hourly_stats AS h
SELECT user_id, hour,
    sum(change)                                     AS answers,
    coalesce(sum(change) FILTER (WHERE correct), 0) AS correct_answers,
    coalesce(sum(change * response_ms), 0)::bigint  AS response_ms,
    coalesce(sum(change) FILTER (WHERE response_ms IS NOT NULL), 0) AS timed_answers
FROM window_facts
WHERE grade IS NOT NULL
GROUP BY user_id, hour
ORDER BY user_id, hour     -- every worker takes locks in the same order
ON CONFLICT (user_id, hour) DO UPDATE SET
    answers         = h.answers         + excluded.answers,
    correct_answers = h.correct_answers + excluded.correct_answers,
    response_ms     = h.response_ms     + excluded.response_ms,
    timed_answers   = h.timed_answers   + excluded.timed_answers;

IF 'retracted' = ANY (window_kinds) THEN
    DELETE FROM hourly_stats
    WHERE ctid = ANY (ARRAY(
        SELECT h.ctid
        FROM window_facts f
        CROSS JOIN LATERAL (
            SELECT h.ctid FROM hourly_stats h WHERE h.user_id = f.user_id AND h.hour = f.hour AND h.answers = 0 OFFSET 0
        ) h
        WHERE f.change < 0));
END IF;

-- definition --
SELECT user_id, hour, count(*) AS answers, count(*) FILTER (WHERE correct) AS correct_answers,
    CAST(coalesce(sum(response_ms), 0) AS bigint) AS response_ms, count(response_ms) AS timed_answers
FROM dated_facts
WHERE kind = 'answer'
GROUP BY user_id, hour

-- rows hourly --
-- One row for each hour of the day (0 to 23) that has answers. The numbers cover all days.
-- | 回答した時間帯ごとに1行です（全期間の合計）。
SELECT hour, answers, correct_answers,
    CAST(correct_answers AS double precision) / nullif(answers, 0) AS accuracy_rate,
    CAST(response_ms AS double precision) / nullif(timed_answers, 0) AS average_response_ms
FROM hourly_stats
WHERE user_id = :user_id
ORDER BY hour;
