-- One row per learner with an event of a known type.

-- table --
CREATE TABLE user_progress (
    user_id            text COLLATE "C" PRIMARY KEY,
    items_learned      bigint NOT NULL,
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    learning           bigint NOT NULL,    -- items by mastery
    short_term         bigint NOT NULL,
    long_term          bigint NOT NULL,
    last_updated       timestamptz NOT NULL,
    last_fact_at       timestamptz,        -- the newest answer, completion or review
    changed_position   bigint NOT NULL
) WITH (fillfactor = 50);
