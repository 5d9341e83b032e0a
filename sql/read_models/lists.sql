-- One row per list of the catalogue about which a list's or item's event is recorded: whether it is archived, and its
-- latest description. The latest event decides. The lists of learners' own are in own_lists.

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

-- functions --
-- Fold these events: add to the rows what follows from the events alone.
CREATE FUNCTION fold_lists(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $lists$
BEGIN
{read_models/lists of_window}
INSERT INTO lists AS l
{read_models/lists definition}
ORDER BY list_id
ON CONFLICT (list_id) DO UPDATE SET
{read_models/lists later};
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
