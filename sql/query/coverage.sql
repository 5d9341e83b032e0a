-- How much of a text learners are expected to know today. The text is its :items, which occur as often as :counts say.
-- progress/query/read_models/coverage.py runs the blocks.
-- Also held by: query/test_coverage.py.

-- words --
words AS MATERIALIZED (
    SELECT t.item_id COLLATE "C" AS item_id, t.count
    FROM unnest(CAST(:items AS text[]), CAST(:counts AS bigint[])) AS t (item_id, count)
)

-- studied --
-- What a learner `m` knows of these items. By the second condition, the planner takes the index by learners.
LATERAL (
        SELECT item_id, correct_answers, interval_days, stability, last_answered_on, last_correct
        FROM item_stats
        WHERE user_id = m.user_id AND (user_id, item_id) >= (m.user_id, '') AND item_id = ANY (CAST(:items AS text[]))
        OFFSET 0
    ) AS s

-- unit --
-- Recalls of a group are whole numbers of this unit, whose sums have no order.
CAST(1000000000000 AS double precision)

-- of learner --
-- The sums over the text, with one row for each of its 200 largest gaps: items by what knowing them would add.
WITH {query/coverage words},
known AS MATERIALIZED (
    SELECT w.item_id, w.count, s.item_id IS NOT NULL AS is_studied, s.interval_days, s.correct_answers,
        {read_models/memory estimated_recall} AS recall, {read_models/memory rounded_recall} AS estimated_recall
    FROM words w
    CROSS JOIN ({read_models/preferences today}) AS moment
    LEFT JOIN (
        SELECT s.*
        FROM (SELECT CAST(:user_id AS text) AS user_id) AS m
        CROSS JOIN {query/coverage studied}
    ) AS s ON s.item_id = w.item_id
),
gaps AS (
    SELECT item_id, count, estimated_recall, count * (1 - coalesce(recall, 0)) AS missing
    FROM known
    WHERE count * (1 - coalesce(recall, 0)) > 0
    ORDER BY missing DESC, item_id
    LIMIT 200
)
SELECT total.*, asked.item_id, w.headword, coalesce(i.level, 'UNKNOWN') AS level, asked.count,
    asked.estimated_recall, asked.missing
FROM (
    SELECT CAST(coalesce(sum(count * recall ORDER BY item_id), 0) AS double precision) AS known,
        CAST(coalesce(sum(count) FILTER (WHERE correct_answers > 0), 0) AS bigint) AS once_right,
        count(*) FILTER (WHERE is_studied) AS items_studied,
        count(*) FILTER (WHERE is_studied AND coalesce(interval_days, 0) < 7) AS learning,
        count(*) FILTER (WHERE interval_days BETWEEN 7 AND 20) AS short_term_mastered,
        count(*) FILTER (WHERE interval_days >= 21) AS long_term_mastered
    FROM known
) AS total
LEFT JOIN gaps asked ON TRUE
{read_models/items of_asked}
{read_models/own_words of_item}
ORDER BY asked.missing DESC, asked.item_id;

-- of group --
-- One row for each present member, with what they are expected to know, and one for each of the 200 largest gaps.
WITH {read_models/group_members members},
{query/coverage words},
known AS MATERIALIZED (
    SELECT m.user_id, w.item_id, w.count,
        CAST(floor({query/coverage unit} * {read_models/memory estimated_recall} + 0.5) AS bigint) AS recall
    FROM members m
    CROSS JOIN LATERAL (SELECT m.today AS day) AS moment
    CROSS JOIN {query/coverage studied}
    JOIN words w ON w.item_id = s.item_id
),
gaps AS (
    SELECT w.item_id, w.count, w.count * (n.members - coalesce(k.recalls, 0) / {query/coverage unit}) AS missing,
        n.members - coalesce(k.remembered, 0) AS learners
    FROM words w
    CROSS JOIN (SELECT count(*) AS members FROM members) AS n
    LEFT JOIN (
        SELECT item_id, CAST(sum(recall) AS double precision) AS recalls,
            count(*) FILTER (WHERE recall >= {query/coverage unit} * {read_models/memory fading_below}) AS remembered
        FROM known
        GROUP BY item_id
    ) AS k ON k.item_id = w.item_id
    WHERE n.members * {query/coverage unit} > coalesce(k.recalls, 0)
    ORDER BY missing DESC, w.item_id
    LIMIT 200
)
SELECT m.user_id, (SELECT n.display_name FROM display_names n WHERE n.user_id = m.user_id) AS display_name,
    coalesce(k.known, 0) / {query/coverage unit} AS known,
    NULL AS item_id, NULL AS headword, NULL AS level, NULL AS count, NULL AS learners, NULL AS missing
FROM members m
LEFT JOIN (
    SELECT user_id, CAST(sum(count * recall) AS double precision) AS known FROM known GROUP BY user_id
) AS k ON k.user_id = m.user_id
UNION ALL
SELECT NULL, NULL, NULL, asked.item_id, nullif(i.headword, ''), coalesce(i.level, 'UNKNOWN'), asked.count,
    asked.learners, asked.missing
FROM gaps asked
{read_models/items of_asked}
ORDER BY missing DESC, item_id, user_id;

-- catalogue --
-- At most :first items that are described and not archived, from the given one on, by id; of the language, if one is
-- given.
SELECT i.item_id, nullif(i.headword, '') AS headword, coalesce(i.level, 'UNKNOWN') AS level, i.kind
FROM items i
WHERE i.in_catalogue AND i.described_at IS NOT NULL AND i.item_id > coalesce(CAST(:after_item_id AS text), '')
  AND CASE WHEN CAST(:language AS text) IS NULL
           THEN TRUE ELSE {read_models/items primary_language} = :language END
ORDER BY i.item_id
LIMIT CAST(:first AS bigint);
