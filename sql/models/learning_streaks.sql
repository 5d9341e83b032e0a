-- One row per learner and unbroken run of study days (local days with a completed session).

-- table --
CREATE TABLE learning_streaks (
    user_id text COLLATE "C" NOT NULL,
    starts  date NOT NULL,
    ends    date NOT NULL,                 -- inclusive
    PRIMARY KEY (user_id, starts)
) WITH (fillfactor = 80);
