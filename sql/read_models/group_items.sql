-- One row per group, item and shard: sums over the item_stats of the group's members in this shard. Teachers read the
-- hardest items of a group from these sums, because the members may have millions of rows in item_stats. A learner's
-- items count in the 50 groups that the learner joined last, so that a learner with many groups does not stall a shard.

-- table --
CREATE TABLE group_items (
    group_id        text COLLATE "C" NOT NULL,
    item_id         text COLLATE "C" NOT NULL,
    shard           smallint NOT NULL,     -- the members' shard
    learners        bigint NOT NULL,       -- members with an answer
    answers         bigint NOT NULL,
    correct_answers bigint NOT NULL,
    response_ms     bigint NOT NULL,
    timed_answers   bigint NOT NULL,
    lapses          bigint NOT NULL,
    PRIMARY KEY (group_id, item_id, shard)
) WITH (fillfactor = 70);

-- most_groups --
50

-- counted_groups --
-- The groups in which the items of the learner u count. PostgreSQL reads them from the end of an index, and stops.
SELECT g.group_id
FROM group_members g
WHERE g.user_id = u.user_id AND g.is_member
ORDER BY g.decided_at DESC, g.decided_id DESC
LIMIT {read_models/group_items most_groups}

-- counted_members --
-- The groups in which the items of each learner count, for all learners.
SELECT group_id, user_id
FROM (
    SELECT group_id, user_id,
        row_number() OVER (PARTITION BY user_id ORDER BY decided_at DESC, decided_id DESC) AS place
    FROM group_members
    WHERE is_member
) p
WHERE place <= {read_models/group_items most_groups}

-- add --
-- Add the sums over the rows of `changes` to the groups' sums.
INSERT INTO group_items AS g (
    group_id, item_id, shard, learners, answers, correct_answers, response_ms, timed_answers, lapses
)
SELECT group_id, item_id, window_shard, sum(learners) AS learners, sum(answers)::bigint AS answers,
    sum(correct_answers)::bigint AS correct_answers, sum(response_ms)::bigint AS response_ms,
    sum(timed_answers)::bigint AS timed_answers, sum(lapses)::bigint AS lapses
FROM changes
GROUP BY group_id, item_id
ORDER BY group_id, item_id
ON CONFLICT (group_id, item_id, shard) DO UPDATE SET
    learners        = g.learners        + excluded.learners,
    answers         = g.answers         + excluded.answers,
    correct_answers = g.correct_answers + excluded.correct_answers,
    response_ms     = g.response_ms     + excluded.response_ms,
    timed_answers   = g.timed_answers   + excluded.timed_answers,
    lapses          = g.lapses          + excluded.lapses

-- subtract --
-- Subtract the item_stats of the learners in `leaving`. Delete a row to which no other member contributes.
, gone AS MATERIALIZED (
    SELECT l.group_id, {read_models/item_difficulty share}
    FROM leaving l
    CROSS JOIN LATERAL (SELECT * FROM item_stats i WHERE i.user_id = l.user_id OFFSET 0) s
    GROUP BY 1, 2, 3
), emptied AS (
    DELETE FROM group_items g
    USING gone o
    WHERE g.group_id = o.group_id AND g.item_id = o.item_id AND g.shard = o.shard
      AND g.learners = o.learners
)
UPDATE group_items g SET
    learners        = g.learners        - o.learners,
    answers         = g.answers         - o.answers,
    correct_answers = g.correct_answers - o.correct_answers,
    response_ms     = g.response_ms     - o.response_ms,
    timed_answers   = g.timed_answers   - o.timed_answers,
    lapses          = g.lapses          - o.lapses
FROM gone o
WHERE g.group_id = o.group_id AND g.item_id = o.item_id AND g.shard = o.shard
  AND g.learners <> o.learners

-- fold --
-- For learners who were members before the window, add the window's changes in their item_stats to the sums of the
-- groups in which their items counted before the window. The fold of group_members runs next. It adds all item_stats of
-- these learners to groups in which they count after the window only, and subtracts them from groups in which they no
-- longer count.
IF EXISTS (SELECT FROM group_members) THEN
    WITH changes AS (
        SELECT m.group_id, w.item_id, {read_models/item_difficulty new_learners} AS learners,
            w.answers - w.had_answers AS answers, w.correct_answers - w.had_correct_answers AS correct_answers,
            w.response_ms - w.had_response_ms AS response_ms,
            w.timed_answers - w.had_timed_answers AS timed_answers, w.lapses - w.had_lapses AS lapses
        FROM (SELECT DISTINCT user_id FROM window_items) u
        CROSS JOIN LATERAL (
            {read_models/group_items counted_groups}
        ) m
        JOIN window_items w ON w.user_id = u.user_id
        WHERE {read_models/item_difficulty is_changed}
    )
    {read_models/group_items add};

    DELETE FROM group_items
    WHERE ctid = ANY (ARRAY(
        SELECT g.ctid
        FROM (SELECT user_id, item_id FROM window_items WHERE answers < had_answers) u
        CROSS JOIN LATERAL (
            {read_models/group_items counted_groups}
        ) m
        CROSS JOIN LATERAL (
            SELECT g.ctid
            FROM group_items g
            WHERE g.group_id = m.group_id AND g.item_id = u.item_id AND g.shard = window_shard
              AND g.answers = 0
            OFFSET 0
        ) g));
END IF;

-- reset_learners --
WITH leaving AS (
    SELECT m.group_id, u.user_id
    FROM unnest(learners) u (user_id)
    CROSS JOIN LATERAL (
        {read_models/group_items counted_groups}
    ) m
)
{read_models/group_items subtract};

-- of_shards --
-- Every row, computed from item_stats.
SELECT m.group_id, {read_models/item_difficulty share}
FROM ({read_models/group_items counted_members}) m
JOIN item_stats s ON s.user_id = m.user_id
GROUP BY 1, 2, 3
HAVING sum(s.answers) > 0

-- fill --
-- A rebuild from the archive first loads the item_stats of all learners, in any order, and then runs this block.
INSERT INTO group_items (
    group_id, item_id, shard, learners, answers, correct_answers, response_ms, timed_answers, lapses
)
{read_models/group_items of_shards};

-- definition --
-- Sum over all shards, because definitions also run in DuckDB, which cannot compute a learner's shard.
SELECT m.group_id, s.item_id, count(*) FILTER (WHERE s.answers > 0) AS learners,
    CAST(sum(s.answers) AS bigint) AS answers, CAST(sum(s.correct_answers) AS bigint) AS correct_answers,
    CAST(sum(s.response_ms) AS bigint) AS response_ms, CAST(sum(s.timed_answers) AS bigint) AS timed_answers,
    CAST(sum(s.lapses) AS bigint) AS lapses
FROM ({read_models/group_items counted_members}) m
JOIN item_stats s ON s.user_id = m.user_id
GROUP BY m.group_id, s.item_id
HAVING sum(s.answers) > 0

-- live --
SELECT group_id, item_id, CAST(sum(learners) AS bigint) AS learners, CAST(sum(answers) AS bigint) AS answers,
    CAST(sum(correct_answers) AS bigint) AS correct_answers, CAST(sum(response_ms) AS bigint) AS response_ms,
    CAST(sum(timed_answers) AS bigint) AS timed_answers, CAST(sum(lapses) AS bigint) AS lapses
FROM group_items
GROUP BY group_id, item_id

-- hardest --
-- The items that at least 3 members have answered, at least 5 times in total, the lowest accuracy first. Archived items
-- are left out.
WITH sums AS (
    SELECT s.*
    FROM (
        SELECT item_id, {read_models/item_difficulty sums}
        FROM group_items
        WHERE group_id = :group_id
        GROUP BY item_id
        HAVING sum(CAST(learners AS double precision)) >= 3 AND sum(CAST(answers AS double precision)) >= 5
        OFFSET 0
    ) AS s
    {read_models/items of_row}
    WHERE i.in_catalogue IS NOT FALSE
    ORDER BY s.accuracy_rate, s.item_id
    LIMIT CAST(:first AS bigint)
)
SELECT s.item_id, {read_models/item_difficulty difficulty_fields}
FROM sums s
CROSS JOIN LATERAL (
    SELECT {read_models/item_difficulty page_sums} FROM group_items g
    WHERE g.group_id = :group_id AND g.item_id = s.item_id
) AS r
{read_models/items of_row}
ORDER BY s.accuracy_rate, s.item_id;
