-- How many items the catalogue has in each domain and level: the batch job's denominators.

-- table --
CREATE TABLE catalogue_counts (
    kind  text COLLATE "C" NOT NULL,       -- domain or level
    name  text COLLATE "C" NOT NULL,       -- R W L S, A1 … C2; never UNKNOWN
    items bigint NOT NULL,                 -- over 0
    PRIMARY KEY (kind, name)
);
