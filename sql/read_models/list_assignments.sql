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
