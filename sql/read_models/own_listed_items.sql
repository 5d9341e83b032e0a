-- One row per list of a learner's own and item that was ever listed in it or unlisted, as in listed_items. Private.
-- Also held by: operations/test_erasure.py.

-- table --
CREATE TABLE own_listed_items (
    user_id    text COLLATE "C" NOT NULL,
    list_id    text COLLATE "C" NOT NULL,
    item_id    text COLLATE "C" NOT NULL,
    decided_at timestamptz NOT NULL,       -- time of the latest ItemListed or ItemUnlisted
    decided_id uuid        NOT NULL,
    is_listed  boolean     NOT NULL,
    position   bigint,                     -- its place in the list; null: none
    PRIMARY KEY (user_id, list_id, item_id)
) WITH (fillfactor = 80);

CREATE INDEX own_listed_items_by_item ON own_listed_items (user_id, item_id) WHERE is_listed;

-- As listed_items_in_order.
CREATE INDEX own_listed_items_in_order ON own_listed_items (
    user_id, list_id, coalesce(position, 2147483648), item_id) WHERE is_listed;

-- functions --
CREATE FUNCTION fold_own_listed_items(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $items$
BEGIN
{read_models/lists of_window}
INSERT INTO own_listed_items AS l
{read_models/own_listed_items definition}
ORDER BY user_id, list_id, item_id
ON CONFLICT (user_id, list_id, item_id) DO UPDATE SET
{read_models/listed_items later};
END
$items$;

-- definition --
SELECT l.*
FROM (
{read_models/listed_items latest}
) l
WHERE user_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = l.user_id)

-- delete_learners --
DELETE FROM own_listed_items WHERE user_id = ANY (learners);

-- export listed_items --
COPY (
    SELECT 'own:' || s.list_id AS list_id, {operations/export_user marked_item}, s.position
    FROM own_listed_items s
    WHERE s.user_id = current_setting('export.learner') AND s.is_listed
    ORDER BY s.list_id, s.position, s.item_id
) TO STDOUT (FORMAT csv, HEADER);
