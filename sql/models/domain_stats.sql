-- One row per learner and domain studied: the batch job's, every five minutes.

-- table --
CREATE TABLE domain_stats (
    user_id               text COLLATE "C" NOT NULL,
    domain                text COLLATE "C" NOT NULL,   -- R W L S UNKNOWN
    items_studied         bigint NOT NULL,
    answers               bigint NOT NULL,
    correct_answers       bigint NOT NULL,
    learning              bigint NOT NULL,
    short_term            bigint NOT NULL,
    long_term             bigint NOT NULL,
    mastered_in_catalogue bigint NOT NULL, -- short and long term, of items still in the catalogue
    PRIMARY KEY (user_id, domain)
);
