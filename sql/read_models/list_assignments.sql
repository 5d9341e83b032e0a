-- One row per group and list of the catalogue that was ever assigned to it or unassigned. The latest event decides.

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
-- One page of the tasks that `assigned` has, from after the given one on, and the number of items, at most 20,000.
tasks AS MATERIALIZED (
    SELECT p.*, (
        SELECT count(*) FROM (
            {read_models/lists items of catalogue} LIMIT 20000
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
-- How many items of a task p a member m has known up to its day and by now; null over 2,000 items.
(
    SELECT count(*) FILTER (WHERE s.first_correct_on <= p.due_on) AS known, count(s.first_correct_on) AS known_now
    FROM (
        {read_models/lists items of catalogue}
    ) AS l
    JOIN item_stats s ON s.user_id = m.user_id AND s.item_id = l.item_id
    HAVING p.items <= 2000
)

-- of learner --
-- One page of the learner's tasks.
WITH assigned AS (
    SELECT a.group_id, a.list_id, a.due_on FROM {read_models/list_assignments of_learner}
),
{read_models/list_assignments tasks}
SELECT p.*, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS group_name, n.*,
    n.known = nullif(p.items, 0) AS done
FROM tasks p
CROSS JOIN (SELECT CAST(:user_id AS text) AS user_id) AS m
CROSS JOIN LATERAL (SELECT p.group_id) AS g
LEFT JOIN LATERAL {read_models/list_assignments known} AS n ON TRUE
ORDER BY p.due_on DESC, p.list_id, p.group_id;

-- of group --
-- One page of the group's tasks, with the number of members who have done each.
WITH assigned AS (
    SELECT group_id, list_id, due_on FROM list_assignments WHERE is_assigned AND group_id = :group_id
),
{read_models/list_assignments tasks}
SELECT p.*, CASE WHEN p.items BETWEEN 1 AND 2000 THEN (
        SELECT count(*)
        FROM group_members m
        CROSS JOIN LATERAL {read_models/list_assignments known} AS n
        WHERE m.group_id = p.group_id AND m.is_member AND n.known = p.items) END AS done
FROM tasks p
ORDER BY p.due_on DESC, p.list_id, p.group_id;

-- members --
-- One page of the members of a group with what they have known of a task, fewest items first. The page begins after
-- the given one.
WITH p AS MATERIALIZED (
    SELECT CAST(:list_id AS text) AS list_id, CAST(:due_on AS date) AS due_on, CAST(:items AS bigint) AS items
)
SELECT m.user_id, (SELECT d.display_name FROM display_names d WHERE d.user_id = m.user_id) AS display_name, n.*,
    n.known = nullif(p.items, 0) AS done
FROM p
JOIN group_members m ON m.group_id = :group_id AND m.is_member
LEFT JOIN LATERAL {read_models/list_assignments known} AS n ON TRUE
WHERE CAST(:after_user_id AS text) IS NULL OR (coalesce(n.known, 0), m.user_id) > (CAST(:after_known AS bigint), :after_user_id)
ORDER BY coalesce(n.known, 0), m.user_id
LIMIT CAST(:first AS bigint);
