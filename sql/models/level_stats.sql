-- One row per learner and CEFR level studied: the batch job's, every five minutes.

-- table --
CREATE TABLE level_stats (
    user_id               text COLLATE "C" NOT NULL,
    level                 text COLLATE "C" NOT NULL,   -- A1 … C2 UNKNOWN
    items_studied         bigint NOT NULL,
    answers               bigint NOT NULL,
    correct_answers       bigint NOT NULL,
    learning              bigint NOT NULL,
    short_term            bigint NOT NULL,
    long_term             bigint NOT NULL,
    mastered_in_catalogue bigint NOT NULL, -- short and long term, of items still in the catalogue
    PRIMARY KEY (user_id, level)
);
