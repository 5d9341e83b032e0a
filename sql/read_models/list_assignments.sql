-- One row per group and list of the catalogue that was ever assigned to it or unassigned. The latest event decides.
-- Also held by: query/test_tasks.py.

-- table --
CREATE TABLE list_assignments (
    group_id    text COLLATE "C" NOT NULL,
    list_id     text COLLATE "C" NOT NULL,
    decided_at  timestamptz NOT NULL,      -- time of the latest ListAssigned or ListUnassigned
    decided_id  uuid        NOT NULL,
    is_assigned boolean     NOT NULL,
    due_on      date,                      -- last local day of the assignment; null: not assigned
    PRIMARY KEY (group_id, list_id)
) WITH (fillfactor = 80);

-- functions --
CREATE FUNCTION fold_list_assignments(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $assignments$
BEGIN
{read_models/lists of_window}
INSERT INTO list_assignments AS l
{read_models/list_assignments definition}
ORDER BY group_id, list_id
ON CONFLICT (group_id, list_id) DO UPDATE SET
decided_at  = excluded.decided_at,
decided_id  = excluded.decided_id,
is_assigned = excluded.is_assigned,
due_on      = excluded.due_on
WHERE (excluded.decided_at, excluded.decided_id) > (l.decided_at, l.decided_id);
END
$assignments$;

-- definition --
SELECT group_id, list_id, occurred_at AS decided_at, event_id AS decided_id,
    event_type = 'ListAssigned' AS is_assigned, due_on
FROM (
    SELECT f.*, row_number() OVER (PARTITION BY group_id, list_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM list_facts f
    WHERE event_type IN ({assignment_types})
) placed
WHERE place = 1

-- of_learner --
-- The assignments to the learner's groups; unless :groups is null, only to those of these groups.
list_assignments a
            JOIN present_members m ON m.group_id = a.group_id AND m.user_id = :user_id
            WHERE a.is_assigned AND (CAST(:groups AS text[]) IS NULL OR a.group_id = ANY (:groups))

-- order --
-- The order of tasks: the latest day first, then by list and group.
DATE '2000-01-01' - a.due_on, a.list_id COLLATE "C", a.group_id COLLATE "C"

-- tasks --
-- One page of the tasks that `assigned` has, from after the given one on, and the number of listed items, at most
-- 20,000, whoever gets them.
tasks AS MATERIALIZED (
    SELECT p.*, (
        SELECT count(*) FROM (
            SELECT FROM listed_items l
            WHERE l.list_id = p.list_id AND l.is_listed
              AND NOT EXISTS (SELECT FROM items i WHERE i.item_id = l.item_id AND NOT i.in_catalogue)
            LIMIT 20000
        ) AS l) AS items
    FROM (
        SELECT a.group_id, a.list_id, a.due_on, l.name AS list_name
        FROM assigned a
        JOIN lists l ON l.list_id = a.list_id AND NOT l.is_archived
        WHERE CAST(:after_list_id AS text) IS NULL OR ({read_models/list_assignments order}) > (
            SELECT {read_models/list_assignments order}
            FROM (SELECT CAST(:after_due_on AS date) AS due_on, CAST(:after_list_id AS text) AS list_id,
                CAST(:after_group_id AS text) AS group_id) AS a)
        ORDER BY {read_models/list_assignments order}
        LIMIT CAST(:first AS bigint)
    ) AS p
)

-- known --
-- Of each list, what the learners with the same pairs get: `gets` has the items and their number, if there are any.
-- `known` has, up to 2,000 listed items, how many of them each learner of `learners` knew up to the task's day,
-- knows now, and is expected to know at the end of that day or, if it is past, of `today`, unless it is null; no row
-- without an answer. Of a learner, the rows of the tasks' items are looked up, or all are read if they are fewer.
cards AS MATERIALIZED (   -- OFFSET 0 makes the planner look up each list
    SELECT c.*
    FROM (SELECT DISTINCT list_id FROM tasks) AS p
    CROSS JOIN LATERAL (
                {read_models/lists cards}
                OFFSET 0
    ) AS c
),
listed_pairs AS MATERIALIZED (
    SELECT DISTINCT pair FROM cards
),
paired AS MATERIALIZED (   -- each learner with those of the own pairs that the lists have
    SELECT m.user_id, m.today, ARRAY(
        {read_models/catalogue_shares pairs}
        INTERSECT
        SELECT pair FROM listed_pairs
        ORDER BY 1
    ) AS pairs
    FROM learners m
),
sets AS (
    SELECT DISTINCT pairs FROM paired
),
got AS (
    {read_models/lists got}
),
gets AS MATERIALIZED (
    SELECT pairs, list_id, count(*) AS items, array_agg(item_id) AS item_ids
    FROM got
    GROUP BY pairs, list_id
),
listed AS MATERIALIZED (   -- of an array, the planner expects ten items; of a join, it may expect one, and nest loops
    SELECT g.pairs, p.group_id, p.list_id, p.due_on, l.item_id
    FROM tasks p
    JOIN gets g USING (list_id)
    CROSS JOIN LATERAL unnest(g.item_ids) AS l (item_id)
    WHERE p.items <= 2000
),
met AS (   -- OFFSET 0, so that a learner's rows are not read again for each item of a task
    SELECT m.today, m.pairs, s.*
    FROM (
        SELECT m.*, u.items_learned > (SELECT count(*) FROM listed) AS has_more
        FROM paired m
        CROSS JOIN LATERAL (SELECT * FROM user_progress p WHERE p.user_id = m.user_id OFFSET 0) AS u
    ) AS m
    CROSS JOIN LATERAL (
        SELECT s.*
        FROM (SELECT DISTINCT item_id FROM listed) AS w
        CROSS JOIN LATERAL (
            SELECT * FROM item_stats i WHERE i.user_id = m.user_id AND i.item_id = w.item_id OFFSET 0
        ) AS s
        WHERE m.has_more
        UNION ALL
        SELECT i.* FROM item_stats i WHERE i.user_id = m.user_id AND NOT m.has_more
    ) AS s
    OFFSET 0
),
known AS MATERIALIZED (
    SELECT l.group_id, l.list_id, s.user_id, s.pairs,
        count(*) FILTER (WHERE s.first_correct_on <= l.due_on) AS known, count(s.first_correct_on) AS known_now,
        sum({read_models/memory estimated_recall}) FILTER (WHERE s.today IS NOT NULL) AS expected
    FROM {read_models/list_assignments met_items}
    GROUP BY l.group_id, l.list_id, s.user_id, s.pairs
)

-- met_items --
-- What the learners have met of the tasks' items, at the end of the task's day or, if it is past, of today.
met s
    JOIN listed l ON l.item_id = s.item_id AND l.pairs = s.pairs
    CROSS JOIN LATERAL (SELECT greatest(l.due_on, s.today) AS day) AS moment

-- known_fields --
-- The result columns of a task p, of its row o of `gets`, and of its row k of `known`, each of which may be missing.
coalesce(o.items, 0) AS items,
    CASE WHEN p.items <= 2000 THEN coalesce(k.known, 0) END AS known,
    CASE WHEN p.items <= 2000 THEN coalesce(k.known_now, 0) END AS known_now,
    CASE WHEN p.items <= 2000 THEN coalesce(k.known, 0) = o.items END AS done,
    CASE WHEN p.items <= 2000 THEN floor(10 * coalesce(k.expected, 0) + 0.5) / 10 END AS expected

-- of learner --
-- One page of the learner's tasks.
WITH assigned AS (
    SELECT a.group_id, a.list_id, a.due_on FROM {read_models/list_assignments of_learner}
),
{read_models/list_assignments tasks},
learners AS (
    SELECT CAST(:user_id AS text) AS user_id, day AS today FROM ({read_models/preferences today}) AS t
),
{read_models/list_assignments known}
SELECT p.group_id, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS group_name,
    p.list_id, p.list_name, p.due_on,
    {read_models/list_assignments known_fields}
FROM tasks p
CROSS JOIN LATERAL (SELECT p.group_id) AS g
LEFT JOIN gets o ON o.list_id = p.list_id
LEFT JOIN known k ON k.group_id = p.group_id AND k.list_id = p.list_id
ORDER BY p.due_on DESC, p.list_id, p.group_id;

-- of group --
-- One page of the group's tasks and, if :is_counted, the number of members who have done each.
WITH assigned AS (
    SELECT group_id, list_id, due_on FROM list_assignments WHERE is_assigned AND group_id = :group_id
),
{read_models/list_assignments tasks},
learners AS (
    SELECT user_id, CAST(NULL AS date) AS today FROM group_members WHERE group_id = :group_id AND is_member
),
{read_models/list_assignments known}
SELECT p.*, CASE WHEN CAST(:is_counted AS boolean) AND p.items BETWEEN 1 AND 2000 THEN (
        SELECT count(*) FROM known k JOIN gets g USING (pairs, list_id)
        WHERE k.list_id = p.list_id AND k.known = g.items) END AS done
FROM tasks p
ORDER BY p.due_on DESC, p.list_id;

-- members --
-- For each of the asked tasks, in their order: one page of the members with what they know of it, fewest items first,
-- and the number of members who have done it. The page has :firsts members, and begins after the given one; if it is
-- empty, there is one row.
WITH {read_models/group_members members},
asked AS MATERIALIZED (
    SELECT *
    FROM unnest(CAST(:groups AS text[]), CAST(:list_ids AS text[]), CAST(:due_ons AS date[]),
        CAST(:items AS bigint[]), CAST(:firsts AS bigint[]), CAST(:after_known AS bigint[]),
        CAST(:after_user_id AS text[])) WITH ORDINALITY
        AS a (group_id, list_id, due_on, items, first, after_known, after_user_id, place)
),
tasks AS (
    SELECT DISTINCT group_id, list_id, due_on, items FROM asked
),
learners AS (
    SELECT DISTINCT user_id, today FROM members
),
{read_models/list_assignments known},
finished AS MATERIALIZED (
    SELECT k.group_id, k.list_id, count(*) AS members
    FROM known k
    JOIN gets g USING (pairs, list_id)
    WHERE k.known = g.items
    GROUP BY k.group_id, k.list_id
)
SELECT p.place, coalesce(f.members, 0) AS finished, m.user_id,
    (SELECT d.display_name FROM display_names d WHERE d.user_id = m.user_id) AS display_name,
    {read_models/list_assignments known_fields}
FROM asked p
LEFT JOIN finished f ON f.group_id = p.group_id AND f.list_id = p.list_id
LEFT JOIN LATERAL (
    SELECT m.user_id, k.known, k.known_now, k.expected
    FROM members m
    LEFT JOIN known k ON k.group_id = m.group_id AND k.list_id = p.list_id AND k.user_id = m.user_id
    WHERE m.group_id = p.group_id
      AND (p.after_user_id IS NULL OR (coalesce(k.known, 0), m.user_id) > (coalesce(p.after_known, 0), p.after_user_id))
    ORDER BY coalesce(k.known, 0), m.user_id
    LIMIT p.first
) AS m ON TRUE
CROSS JOIN LATERAL (SELECT m.known, m.known_now, m.expected) AS k
LEFT JOIN paired w ON w.user_id = m.user_id
LEFT JOIN gets o ON o.list_id = p.list_id AND o.pairs = w.pairs
ORDER BY p.place, coalesce(m.known, 0), m.user_id;

-- words --
-- One page of the listed items of the task :list_id, by how many members ever answered them correctly, fewest first,
-- from the given one on; none over 2,000 items. Before them, one row with the members.
WITH {read_models/group_members members},
tasks AS (
    SELECT CAST(:group_id AS text) AS group_id, CAST(:list_id AS text) AS list_id, CAST(:due_on AS date) AS due_on,
        CAST(:items AS bigint) AS items
),
learners AS (
    SELECT user_id, today FROM members
),
{read_models/list_assignments known},
getting AS (
    SELECT g.item_id, sum(p.members) AS members
    FROM got g
    JOIN (SELECT pairs, count(*) AS members FROM paired GROUP BY pairs) AS p ON p.pairs = g.pairs
    GROUP BY g.item_id
),
remembered AS (
    SELECT l.item_id, count(s.first_correct_on) AS known_now, sum({read_models/memory estimated_recall}) AS expected
    FROM {read_models/list_assignments met_items}
    GROUP BY l.item_id
),
words AS (
    SELECT c.item_id, c.position, c.headword, CAST(coalesce(g.members, 0) AS bigint) AS members,
        coalesce(r.known_now, 0) AS known_now, floor(10 * coalesce(r.expected, 0) + 0.5) / 10 AS expected
    FROM cards c
    LEFT JOIN getting g ON g.item_id = c.item_id
    LEFT JOIN remembered r ON r.item_id = c.item_id
    WHERE (SELECT items FROM tasks) <= 2000
),
page AS (
    SELECT *
    FROM words
    WHERE CAST(:after_item_id AS text) IS NULL OR (known_now, position, item_id) > (
        CAST(:after_known_now AS bigint), CAST(:after_position AS bigint), :after_item_id)
    ORDER BY known_now, position, item_id
    LIMIT CAST(:first AS bigint)
)
SELECT ARRAY(SELECT user_id FROM members) AS users, NULL AS item_id, NULL AS position, NULL AS headword,
    NULL AS members, NULL AS known_now, NULL AS expected
UNION ALL
SELECT NULL, * FROM page
ORDER BY known_now NULLS FIRST, position, item_id;
