-- How much of a text learners are expected to know today. The text is its :items, which occur as often as :counts say.
-- progress/query/read_models/coverage.py runs the blocks.

-- words --
-- The distinct items of the text.
words AS MATERIALIZED (
    SELECT t.item_id COLLATE "C" AS item_id, CAST(sum(t.count) AS bigint) AS count
    FROM unnest(CAST(:items AS text[]), CAST(:counts AS bigint[])) AS t (item_id, count)
    GROUP BY 1
)

-- of learner --
-- The sums over the text, with one row for each of its 200 largest gaps: items by what knowing them would add.
WITH {query/coverage words},
known AS MATERIALIZED (
    SELECT w.item_id, w.count, s.item_id IS NOT NULL AS is_studied, s.interval_days, s.correct_answers,
        {read_models/memory estimated_recall} AS recall
    FROM words w
    CROSS JOIN ({read_models/preferences today}) AS moment
    LEFT JOIN item_stats s ON s.user_id = :user_id AND s.item_id = w.item_id
),
gaps AS (
    SELECT item_id, count, recall, count * (1 - coalesce(recall, 0)) AS missing
    FROM known
    WHERE count * (1 - coalesce(recall, 0)) > 0
    ORDER BY missing DESC, item_id
    LIMIT 200
)
SELECT total.*, asked.item_id, w.headword, coalesce(i.level, 'UNKNOWN') AS level, asked.count,
    floor(1000 * asked.recall + 0.5) / 1000 AS estimated_recall, asked.missing
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
    SELECT m.user_id, s.item_id, s.count, coalesce({read_models/memory estimated_recall}, 0) AS recall
    FROM members m
    CROSS JOIN LATERAL (SELECT m.today AS day) AS moment
    CROSS JOIN LATERAL (
        SELECT w.item_id, w.count, i.stability, i.last_answered_on, i.last_correct
        FROM words w
        LEFT JOIN item_stats i ON i.user_id = m.user_id AND i.item_id = w.item_id
        OFFSET 0
    ) AS s
),
gaps AS (
    SELECT item_id, min(count) AS count, sum(count * (1 - recall) ORDER BY user_id) AS missing,
        count(*) FILTER (WHERE recall < {read_models/memory fading_below}) AS learners
    FROM known
    GROUP BY item_id
    HAVING sum(count * (1 - recall)) > 0
    ORDER BY missing DESC, item_id
    LIMIT 200
)
SELECT m.user_id, (SELECT n.display_name FROM display_names n WHERE n.user_id = m.user_id) AS display_name, m.known,
    NULL AS item_id, NULL AS headword, NULL AS level, NULL AS count, NULL AS learners, NULL AS missing
FROM (SELECT user_id, sum(count * recall ORDER BY item_id) AS known FROM known GROUP BY user_id) AS m
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
