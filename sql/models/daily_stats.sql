-- One row per learner and local day with an answer, a completed session or a review.

-- table --
CREATE TABLE daily_stats (
    user_id            text COLLATE "C" NOT NULL,
    day                date   NOT NULL,
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    response_ms        bigint NOT NULL,    -- summed
    reviews            bigint NOT NULL,
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    scores             bigint NOT NULL,    -- summed
    items_learned      bigint NOT NULL,
    items_reviewed     bigint NOT NULL,
    new_mastery_count  bigint NOT NULL,
    changed_position   bigint NOT NULL,    -- the end of the window that changed the row last
    PRIMARY KEY (user_id, day)
) WITH (fillfactor = 60);
