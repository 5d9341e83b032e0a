-- One row per learner and ISO week with a daily row: the batch job's, every five minutes.

-- table --
CREATE TABLE weekly_stats (
    user_id            text COLLATE "C" NOT NULL,
    monday             date   NOT NULL,
    active_days        bigint NOT NULL,    -- study days
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    response_ms        bigint NOT NULL,
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    scores             bigint NOT NULL,
    items_learned      bigint NOT NULL,
    items_reviewed     bigint NOT NULL,    -- distinct items answered on a day later than their first
    new_mastery_count  bigint NOT NULL,
    PRIMARY KEY (user_id, monday)
);
