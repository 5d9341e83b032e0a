-- One row per list of the catalogue and item that was ever listed in it or unlisted. The latest event decides.

-- table --
CREATE TABLE listed_items (
    list_id    text COLLATE "C" NOT NULL,
    item_id    text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL,       -- time of the latest ItemListed or ItemUnlisted
    decided_id uuid        NOT NULL,
    is_listed  boolean     NOT NULL,
    position   bigint,                     -- its place in the list; null: none
    PRIMARY KEY (list_id, item_id)
) WITH (fillfactor = 80);

CREATE INDEX listed_items_by_item ON listed_items (item_id) WHERE is_listed;

-- The order of a list's members, so that a long list is read up to its last one.
CREATE INDEX listed_items_in_order ON listed_items (list_id, coalesce(position, 2147483648), item_id) WHERE is_listed;

-- functions --
CREATE FUNCTION fold_listed_items(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $items$
BEGIN
{read_models/lists of_window}
INSERT INTO listed_items AS l
{read_models/listed_items definition}
ORDER BY list_id, item_id
ON CONFLICT (list_id, item_id) DO UPDATE SET
{read_models/listed_items later};
END
$items$;

-- later --
decided_at = excluded.decided_at,
decided_id = excluded.decided_id,
is_listed  = excluded.is_listed,
position   = excluded.position
WHERE (excluded.decided_at, excluded.decided_id) > (l.decided_at, l.decided_id)

-- latest --
-- The items of the catalogue's lists, whose user_id is null, and those of learners' own.
SELECT user_id, list_id, item_id, occurred_at AS decided_at, event_id AS decided_id,
    event_type = 'ItemListed' AS is_listed, position
FROM (
    SELECT f.*, row_number() OVER (
        PARTITION BY user_id, list_id, item_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM list_facts f
    WHERE event_type IN ('ItemListed', 'ItemUnlisted')
) placed
WHERE place = 1

-- definition --
SELECT list_id, item_id, decided_at, decided_id, is_listed, position
FROM (
{read_models/listed_items latest}
) latest
WHERE user_id IS NULL
