-- The first completion of each session of a learner: the one that counts.

-- table --
CREATE TABLE completions (
    user_id          text COLLATE "C" NOT NULL,
    session_id       text COLLATE "C" NOT NULL,
    occurred_at      timestamptz NOT NULL,
    event_id         uuid   NOT NULL,
    day              date   NOT NULL,      -- local, see segments
    score            bigint NOT NULL,
    duration_seconds bigint NOT NULL,
    PRIMARY KEY (user_id, session_id)
);
