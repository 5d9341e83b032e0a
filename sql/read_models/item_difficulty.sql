-- One row per shard and item that a learner of the shard has answered: sums over the learners' item_stats. Each shard
-- has its own rows, so that workers of different shards never wait for each other.

-- table --
CREATE TABLE item_difficulty (
    item_id         text COLLATE "C" NOT NULL,
    shard           smallint NOT NULL,     -- shard of the learners: add up the rows of an item
    learners        bigint NOT NULL,       -- number of learners with an answer
    answers         bigint NOT NULL,
    correct_answers bigint NOT NULL,
    response_ms     bigint NOT NULL,
    timed_answers   bigint NOT NULL,
    lapses          bigint NOT NULL,
    PRIMARY KEY (item_id, shard)
) WITH (fillfactor = 70);

-- fold --
-- Add the differences between the new and the former rows of item_stats to the sums. A late event may make the number
-- of lapses fall. A lapse is an answer: without answers, there are no lapses.
INSERT INTO item_difficulty AS d
SELECT item_id, window_shard,
    sum({read_models/item_difficulty new_learners}) AS learners,
    sum(answers - had_answers)::bigint                      AS answers,
    sum(correct_answers - had_correct_answers)::bigint      AS correct_answers,
    sum(response_ms - had_response_ms)::bigint              AS response_ms,
    sum(timed_answers - had_timed_answers)::bigint          AS timed_answers,
    sum(lapses - had_lapses)::bigint                        AS lapses
FROM window_items
WHERE {read_models/item_difficulty is_changed}
GROUP BY item_id
ORDER BY item_id
ON CONFLICT (item_id, shard) DO UPDATE SET
    learners        = d.learners        + excluded.learners,
    answers         = d.answers         + excluded.answers,
    correct_answers = d.correct_answers + excluded.correct_answers,
    response_ms     = d.response_ms     + excluded.response_ms,
    timed_answers   = d.timed_answers   + excluded.timed_answers,
    lapses          = d.lapses          + excluded.lapses;

DELETE FROM item_difficulty
WHERE ctid = ANY (ARRAY(
    SELECT d.ctid
    FROM window_items w
    CROSS JOIN LATERAL (
        SELECT d.ctid
        FROM item_difficulty d
        WHERE d.item_id = w.item_id AND d.shard = window_shard AND d.answers = 0
        OFFSET 0
    ) d
    WHERE w.answers < w.had_answers));

-- new_learners --
CASE WHEN answers > 0 THEN 1 ELSE 0 END - CASE WHEN had_answers > 0 THEN 1 ELSE 0 END

-- is_changed --
answers <> had_answers OR lapses <> had_lapses OR correct_answers <> had_correct_answers
    OR response_ms <> had_response_ms OR timed_answers <> had_timed_answers

-- share --
-- The values of the table's columns, in their order: the item, the shard, and sums over rows of item_stats. The
-- statement that includes this block names these rows `s`.
s.item_id, event_store.shard_of('learner-' || s.user_id) AS shard,
count(*) FILTER (WHERE s.answers > 0) AS learners, sum(s.answers)::bigint AS answers,
sum(s.correct_answers)::bigint AS correct_answers, sum(s.response_ms)::bigint AS response_ms,
sum(s.timed_answers)::bigint AS timed_answers, sum(s.lapses)::bigint AS lapses

-- reset_learners --
-- Subtract the learners' rows of item_stats. Delete a row to which no other learner contributes.
WITH gone AS MATERIALIZED (
    SELECT {read_models/item_difficulty share}
    FROM item_stats s
    WHERE s.user_id = ANY (learners)
    GROUP BY s.item_id, event_store.shard_of('learner-' || s.user_id)
), emptied AS (
    DELETE FROM item_difficulty d
    USING gone g
    WHERE d.item_id = g.item_id AND d.shard = g.shard AND d.learners = g.learners
)
UPDATE item_difficulty d SET
    learners        = d.learners        - g.learners,
    answers         = d.answers         - g.answers,
    correct_answers = d.correct_answers - g.correct_answers,
    response_ms     = d.response_ms     - g.response_ms,
    timed_answers   = d.timed_answers   - g.timed_answers,
    lapses          = d.lapses          - g.lapses
FROM gone g
WHERE d.item_id = g.item_id AND d.shard = g.shard AND d.learners <> g.learners;

-- of_shards --
-- Every row, computed from item_stats.
SELECT {read_models/item_difficulty share}
FROM item_stats s
GROUP BY s.item_id, event_store.shard_of('learner-' || s.user_id)
HAVING sum(s.answers) > 0

-- fill --
-- A rebuild from the archive first loads the item_stats of all learners, in any order, and then runs this block.
INSERT INTO item_difficulty (item_id, shard, learners, answers, correct_answers, response_ms, timed_answers, lapses)
{read_models/item_difficulty of_shards};

-- definition --
-- Sum over all shards, because definitions also run in DuckDB, which cannot compute a learner's shard.
SELECT item_id, count(*) FILTER (WHERE answers > 0) AS learners, CAST(sum(answers) AS bigint) AS answers,
    CAST(sum(correct_answers) AS bigint) AS correct_answers, CAST(sum(response_ms) AS bigint) AS response_ms,
    CAST(sum(timed_answers) AS bigint) AS timed_answers, CAST(sum(lapses) AS bigint) AS lapses
FROM item_stats
GROUP BY item_id
HAVING sum(answers) > 0

-- live --
SELECT item_id, CAST(sum(learners) AS bigint) AS learners, CAST(sum(answers) AS bigint) AS answers,
    CAST(sum(correct_answers) AS bigint) AS correct_answers, CAST(sum(response_ms) AS bigint) AS response_ms,
    CAST(sum(timed_answers) AS bigint) AS timed_answers, CAST(sum(lapses) AS bigint) AS lapses
FROM item_difficulty
GROUP BY item_id

-- sums --
-- Sums over shards; lists are filtered and ordered by these sums. Doubles hold the sums exactly, and
-- PostgreSQL adds doubles faster than 64-bit integers.
CAST(sum(CAST(learners AS double precision)) AS bigint) AS learners,
CAST(sum(CAST(answers AS double precision)) AS bigint) AS answers,
sum(CAST(correct_answers AS double precision)) / nullif(sum(CAST(answers AS double precision)), 0) AS accuracy_rate

-- page_sums --
-- The other sums over shards, which are computed only for the items of a page.
CAST(sum(response_ms) AS bigint) AS response_ms, CAST(sum(timed_answers) AS bigint) AS timed_answers,
CAST(sum(lapses) AS bigint) AS lapses

-- difficulty_fields --
-- The result columns from an item's sums s, its page_sums r and its description i. The description may be missing.
nullif(i.headword, '')                             AS headword,
coalesce(i.level, 'UNKNOWN')                       AS level,
s.learners,
s.answers,
s.accuracy_rate,
CAST(r.response_ms AS double precision) / nullif(r.timed_answers, 0) AS average_response_ms,
r.lapses

-- list --
-- One page of the items that 5 or more learners have answered, lowest accuracy first. The page begins after the given
-- key. Each row also has the number of all items that pass the filters.
WITH sums AS (
    SELECT item_id, {read_models/item_difficulty sums}
    FROM item_difficulty
    GROUP BY item_id
    HAVING sum(CAST(learners AS double precision)) >= 5
),
listed AS (
    SELECT s.*
    FROM sums s
    LEFT JOIN (
        SELECT * FROM items i WHERE coalesce(CAST(:level AS text), CAST(:domain AS text)) IS NOT NULL
    ) AS i ON i.item_id = s.item_id
    WHERE {read_models/items level_and_domain}
),
page AS (
    SELECT *
    FROM listed
    WHERE CAST(:after_item_id AS text) IS NULL
       OR (accuracy_rate, item_id) > (CAST(:after_rank AS double precision), :after_item_id)
    ORDER BY accuracy_rate, item_id
    LIMIT CAST(:first AS bigint)
)
SELECT total.items AS total_count, s.item_id, {read_models/item_difficulty difficulty_fields}
FROM (SELECT count(*) AS items FROM listed) AS total
LEFT JOIN page s ON TRUE
CROSS JOIN LATERAL (
    SELECT {read_models/item_difficulty page_sums} FROM item_difficulty d WHERE d.item_id = s.item_id
) AS r
{read_models/items of_row}
ORDER BY s.accuracy_rate, s.item_id;
