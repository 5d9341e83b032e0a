-- One row per learner and item that was answered or reviewed.

-- table --
CREATE TABLE item_stats (
    user_id           text COLLATE "C" NOT NULL,
    item_id           text COLLATE "C" NOT NULL,
    answers           bigint NOT NULL,
    correct_answers   bigint NOT NULL,
    response_ms       bigint NOT NULL,     -- summed
    first_answered_at timestamptz,
    first_answered_on date,                -- local, see segments
    last_answered_at  timestamptz,
    first_correct_at  timestamptz,
    first_correct_on  date,
    first_mastered_at timestamptz,         -- first review with an interval of 7 days or more
    first_mastered_on date,
    interval_days     bigint,              -- of the latest review; null: never reviewed
    easiness_factor   double precision,
    reviewed_at       timestamptz,
    review_id         uuid,
    lapses            bigint NOT NULL,
    PRIMARY KEY (user_id, item_id)
) WITH (fillfactor = 70);
