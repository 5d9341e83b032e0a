-- Which items a learner answered on which local day.

-- table --
CREATE TABLE item_days (
    user_id text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    day     date NOT NULL,
    PRIMARY KEY (user_id, item_id, day)
);
