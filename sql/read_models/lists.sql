-- One row per list of the catalogue about which a list's or item's event is recorded: whether it is archived, and its
-- latest description. The latest event decides. The lists of learners' own are in own_lists.
-- Also held by: query/test_lists.py, query/test_tasks.py, query/test_task_mutations.py.

-- table --
CREATE TABLE lists (
    list_id      text COLLATE "C" PRIMARY KEY,
    decided_at   timestamptz,              -- time of the latest ListPublished or ListArchived; null: none
    decided_id   uuid,
    is_archived  boolean NOT NULL,
    described_at timestamptz,              -- time of the latest ListPublished; null: none
    described_id uuid,
    name         text COLLATE "C",         -- null: not described yet
    scale        text COLLATE "C",         -- what the list is a level of; null: nothing
    rank         bigint                    -- its place in the scale; null: none
);

CREATE INDEX lists_by_scale ON lists (scale) WHERE scale IS NOT NULL AND NOT is_archived;

-- functions --
-- Fold these events: add to the rows what follows from the events alone.
CREATE FUNCTION fold_lists(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $lists$
BEGIN
{read_models/lists of_window}, put AS (
INSERT INTO lists AS l
{read_models/lists definition}
ORDER BY list_id
ON CONFLICT (list_id) DO UPDATE SET
{read_models/lists later}
RETURNING l.list_id, l.scale, l.is_archived
), changed AS (
    SELECT *, 1 AS lists FROM put
    UNION ALL
    SELECT l.list_id, l.scale, l.is_archived, -1 FROM put JOIN lists l ON l.list_id = put.list_id
)
INSERT INTO catalogue_sizes AS t
SELECT 'scale', c.scale, '', '', event_store.shard_of('list-' || c.list_id), sum(c.lists)
FROM changed c
WHERE c.scale IS NOT NULL AND NOT c.is_archived
GROUP BY 2, 5
HAVING sum(c.lists) <> 0
ORDER BY 2, 5
{read_models/catalogue_sizes added};
END
$lists$;

-- of_window --
-- Hide the view by these events of it, which the definition then reads.
WITH list_facts AS MATERIALIZED (
    SELECT * FROM list_facts WHERE global_position = ANY (positions)
)

-- later --
(decided_at, decided_id, is_archived) = (
    SELECT n.at, n.id, n.is_archived
    FROM (VALUES
        (l.decided_at, l.decided_id, l.is_archived),
        (excluded.decided_at, excluded.decided_id, excluded.is_archived)
    ) AS n (at, id, is_archived)
    ORDER BY n.at DESC NULLS LAST, n.id DESC
    LIMIT 1),
(described_at, described_id, name, scale, rank) = (
    SELECT n.at, n.id, n.name, n.scale, n.rank
    FROM (VALUES
        (l.described_at, l.described_id, l.name, l.scale, l.rank),
        (excluded.described_at, excluded.described_id, excluded.name, excluded.scale, excluded.rank)
    ) AS n (at, id, name, scale, rank)
    ORDER BY n.at DESC NULLS LAST, n.id DESC
    LIMIT 1)

-- latest --
-- The lists of the catalogue, whose user_id is null, and those of learners' own.
SELECT user_id, list_id, CASE WHEN decides THEN occurred_at END AS decided_at,
    CASE WHEN decides THEN event_id END AS decided_id, event_type = 'ListArchived' AS is_archived,
    described_at, described_id, name, scale, rank
FROM (
    SELECT f.user_id, f.list_id, f.event_type, f.occurred_at, f.event_id, f.decides,
        row_number() OVER decided AS place,
        first_value(CASE WHEN f.describes THEN f.occurred_at END) OVER described AS described_at,
        first_value(CASE WHEN f.describes THEN f.event_id END) OVER described AS described_id,
        first_value(f.name) OVER described AS name,
        first_value(f.scale) OVER described AS scale,
        first_value(f.rank) OVER described AS rank
    FROM (
        SELECT *, event_type IN ('ListPublished', 'ListArchived') AS decides, event_type = 'ListPublished' AS describes
        FROM list_facts
        WHERE event_type IN ({list_types})
    ) f
    WINDOW decided AS (PARTITION BY f.user_id, f.list_id ORDER BY f.decides DESC, f.occurred_at DESC, f.event_id DESC),
        described AS (PARTITION BY f.user_id, f.list_id ORDER BY f.describes DESC, f.occurred_at DESC, f.event_id DESC)
) placed
WHERE place = 1

-- definition --
SELECT list_id, decided_at, decided_id, is_archived, described_at, described_id, name, scale, rank
FROM (
{read_models/lists latest}
) latest
WHERE user_id IS NULL

-- visible --
-- The lists that the reader sees: those of the catalogue and, if :is_learner, those of the learner's own.
{read_models/lists own}
    UNION ALL
    {read_models/lists published}

-- own --
SELECT 'own:' || l.list_id AS id, TRUE AS own, l.list_id, l.name, l.scale, l.rank, l.is_archived AS archived
    FROM own_lists l
    WHERE l.user_id = :user_id AND CAST(:is_learner AS boolean)

-- published --
-- The lists of the catalogue that exist for the reader. Of a task, the list exists for the members of a group that has
-- it, and for those who teach it. :reader has the reader's id and the groups taught; null sees all.
SELECT l.list_id AS id, FALSE AS own, l.list_id, l.name, l.scale, l.rank, l.is_archived AS archived
    FROM lists l
    WHERE l.list_id NOT LIKE 'progress-task-%' OR CAST(:reader AS text[]) IS NULL OR EXISTS (
        SELECT FROM list_assignments a
        WHERE a.list_id = l.list_id AND a.is_assigned AND a.group_id = ANY ((CAST(:reader AS text[]))[2:] || ARRAY(
            SELECT m.group_id FROM present_members m WHERE m.user_id = (CAST(:reader AS text[]))[1])))

-- order --
-- The order of lists: by scale (none first), rank, name (none last) and id.
coalesce(l.scale, '') COLLATE "C", coalesce(CAST(l.rank AS bigint), 2147483648), l.name IS NULL,
        coalesce(l.name, '') COLLATE "C", l.id COLLATE "C"

-- card_fields --
-- The columns of an item l that is listed, with the word and the pair, as in catalogue_shares, of its description i,
-- which may be missing. Items without a position are last.
l.item_id, coalesce(l.position, 2147483648) AS position,
        {read_models/items primary_language} AS language, nullif(i.headword, '') COLLATE "C" AS headword,
        {read_models/items primary_language} || ' ' || {read_models/items kind} AS pair

-- got --
-- What learners with each of the `sets` of pairs get of the lists with these `cards`. If a list names a word in one of
-- the pairs, its cards in other pairs are left out.
SELECT c.*
    FROM (
        SELECT c.*, w.pairs, c.pair = ANY (w.pairs) AS is_had, bool_or(c.pair = ANY (w.pairs)) OVER (
            PARTITION BY w.pairs, c.list_id, c.language, c.headword) AS word_is_had
        FROM cards c
        CROSS JOIN sets w
    ) AS c
    WHERE c.is_had OR NOT c.word_is_had OR c.headword IS NULL

-- sets --
-- The one set of the learner's pairs.
sets AS (
    SELECT ARRAY(
        {read_models/catalogue_shares pairs}
    ) AS pairs
    FROM (SELECT CAST(:user_id AS text) AS user_id) AS m
)

-- items --
-- What the learner gets of a list p. OFFSET 0 makes the planner look up each list.
(
        SELECT *
        FROM (
            SELECT l.item_id, coalesce(l.position, 2147483648) AS position
            FROM own_listed_items l
            WHERE p.own AND l.user_id = :user_id AND l.list_id = p.list_id AND l.is_listed
            ORDER BY coalesce(l.position, 2147483648), l.item_id
            LIMIT (SELECT 20000)   -- unknown to the planner, which then reads in order
        ) AS l
        UNION ALL
        SELECT l.item_id, l.position
        FROM (
            WITH cards AS (
                {read_models/lists cards}
            )
            {read_models/lists got}
        ) AS l
        WHERE NOT p.own
        OFFSET 0
    )

-- cards --
-- The first 20,000 items of a list p that the catalogue has not archived; the index has them in order, and each is
-- looked up, as in `of_row` of items.
SELECT l.list_id, {read_models/lists card_fields}
                FROM listed_items l
                LEFT JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = l.item_id OFFSET 0) AS i ON TRUE
                WHERE l.list_id = p.list_id AND l.is_listed AND i.in_catalogue IS NOT FALSE
                ORDER BY coalesce(l.position, 2147483648), l.item_id
                LIMIT (SELECT 20000)

-- members of list --
-- The members of the list :list_id; none if the reader sees no such list.
WITH {read_models/lists sets}
SELECT l.item_id, l.position
FROM (
    {read_models/lists visible}
) AS p
CROSS JOIN LATERAL {read_models/lists items} AS l
WHERE p.id = :list_id

-- numbers --
-- One page of lists with the learner's numbers over their members: the list :list_id or, if it is null, those of the
-- scale :in_scale or, if it is null, too, the learner's own and those of the groups. Each row also has the number of
-- all these lists.
{read_models/item_stats due_items},
{read_models/lists sets},
chosen AS MATERIALIZED (
    SELECT l.*
    FROM ({read_models/lists visible}) AS l
    WHERE l.id = :list_id
    UNION ALL
    SELECT l.*
    FROM (
        SELECT l.*
        FROM ({read_models/lists visible}) AS l
        WHERE l.scale = :in_scale
        UNION ALL
        SELECT l.*
        FROM ({read_models/lists own}) AS l
        WHERE CAST(:in_scale AS text) IS NULL
        UNION ALL
        SELECT l.*
        FROM (SELECT DISTINCT a.list_id FROM {read_models/list_assignments of_learner}) AS a
        CROSS JOIN LATERAL (
            SELECT l.* FROM ({read_models/lists published}) AS l WHERE l.list_id = a.list_id OFFSET 0
        ) AS l
        WHERE CAST(:in_scale AS text) IS NULL
    ) AS l
    WHERE CAST(:list_id AS text) IS NULL AND NOT l.archived
      AND EXISTS (SELECT FROM user_progress p WHERE p.user_id = :user_id)
),
page AS MATERIALIZED (
    SELECT l.*
    FROM chosen l
    WHERE CAST(:after_id AS text) IS NULL OR ({read_models/lists order}) > (
        SELECT {read_models/lists order}
        FROM (SELECT CAST(:after_scale AS text) AS scale, CAST(:after_rank AS bigint) AS rank,
            CAST(:after_name AS text) AS name, CAST(:after_id AS text) AS id) AS l)
    ORDER BY {read_models/lists order}
    LIMIT CAST(:first AS bigint)
),
counted AS MATERIALIZED (
    SELECT p.id, count(*) AS items, count(s.item_id) AS items_studied, CAST(sum(s.answers) AS bigint) AS answers,
        CAST(sum(s.correct_answers) AS bigint) AS correct_answers,
        count(*) FILTER (WHERE s.interval_days BETWEEN 7 AND 20) AS short_term,
        count(*) FILTER (WHERE s.interval_days >= 21) AS long_term,
        count(*) FILTER (WHERE s.interval_days >= 7) AS mastered_in_catalogue,
        nullif(count(*) FILTER (WHERE s.interval_days >= 7
            AND s.first_mastered_on BETWEEN moment.day - 27 AND moment.day), 0) AS mastered_lately,
        count(*) FILTER (WHERE {read_models/item_stats is_due}) AS due,
        sum({read_models/memory estimated_recall}) AS expected
    FROM page p
    CROSS JOIN LATERAL {read_models/lists items} AS l
    LEFT JOIN item_stats s ON s.user_id = :user_id AND s.item_id = l.item_id
    {read_models/item_stats out_of_play}
    CROSS JOIN today AS moment
    GROUP BY p.id
)
SELECT total.lists AS total_count, l.id, l.own, l.name, l.scale, l.rank, l.archived,
    coalesce(d.items, 0)                               AS items,
    coalesce(d.items_studied, 0)                       AS items_studied,
    coalesce(d.answers, 0)                             AS answers,
    coalesce(d.correct_answers, 0)                     AS correct_answers,
    CAST(d.correct_answers AS double precision) / nullif(d.answers, 0) AS accuracy_rate,
    coalesce(d.items_studied - d.mastered_in_catalogue, 0) AS learning,
    coalesce(d.short_term, 0)                          AS short_term_mastered,
    coalesce(d.long_term, 0)                           AS long_term_mastered,
    CAST(d.mastered_in_catalogue AS double precision) / d.items AS progress_rate,
    coalesce(d.due, 0)                                 AS due,
    floor(10 * coalesce(d.expected, 0) + 0.5) / 10     AS expected,
    {read_models/level_stats forecast_fields}
FROM (SELECT count(*) AS lists FROM chosen) AS total
CROSS JOIN today
LEFT JOIN page l ON TRUE
LEFT JOIN counted d ON d.id = l.id
CROSS JOIN LATERAL (SELECT d.items) AS c
CROSS JOIN LATERAL (SELECT d.mastered_lately AS items) AS r
{read_models/level_stats forecast}
ORDER BY {read_models/lists order};

-- members --
-- One page of the members of the list :list_id, in its order, from the given one on, with the learner's numbers, and
-- the number of all members.
WITH members AS MATERIALIZED (
    {read_models/lists members of list}
),
page AS (
    SELECT *
    FROM members
    WHERE CAST(:after_item_id AS text) IS NULL
       OR (position, item_id) > (CAST(:after_position AS bigint), :after_item_id)
    ORDER BY position, item_id
    LIMIT CAST(:first AS bigint)
)
SELECT
    total.items                                        AS total_count,
    asked.position,
    asked.item_id,
    {read_models/item_stats shown_fields}
FROM (SELECT count(*) AS items FROM members) AS total
CROSS JOIN ({read_models/preferences today}) AS moment
LEFT JOIN page asked ON TRUE
LEFT JOIN item_stats s ON s.user_id = :user_id AND s.item_id = asked.item_id
{read_models/item_stats shown_joins}
ORDER BY asked.position, asked.item_id;

-- of item --
-- The lists that name the item :item_id, at most 50: the catalogue's and, if :is_learner, the learner's own.
-- OFFSET 0 makes the planner look up each.
SELECT l.id, l.own, l.name, l.scale, l.rank
FROM (
    SELECT l.*
    FROM own_listed_items n
    CROSS JOIN LATERAL (
        SELECT l.* FROM ({read_models/lists own}) AS l WHERE l.list_id = n.list_id OFFSET 0
    ) AS l
    WHERE n.user_id = :user_id AND n.item_id = :item_id AND n.is_listed
    UNION ALL
    SELECT l.*
    FROM listed_items n
    CROSS JOIN LATERAL (
        SELECT l.* FROM ({read_models/lists published}) AS l WHERE l.list_id = n.list_id OFFSET 0
    ) AS l
    WHERE n.item_id = :item_id AND n.is_listed
      AND NOT EXISTS (SELECT FROM items i WHERE i.item_id = n.item_id AND NOT i.in_catalogue)
) AS l
WHERE NOT l.archived
ORDER BY {read_models/lists order}
LIMIT 50;

-- scales --
-- The scales of the lists that the reader sees, with the number of their lists that are not archived.
SELECT l.scale AS name, CAST(sum(l.lists) AS bigint) AS lists
FROM (
    SELECT l.scale, 1 AS lists FROM ({read_models/lists own}) AS l WHERE l.scale IS NOT NULL AND NOT l.archived
    UNION ALL
    SELECT s.name, s.size FROM catalogue_sizes s WHERE s.kind = 'scale'
) AS l
GROUP BY l.scale
HAVING sum(l.lists) > 0
ORDER BY lists DESC, l.scale COLLATE "C"
LIMIT 100;
