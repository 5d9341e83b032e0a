-- One row per list of a learner's own, as in lists. It is private: no view for analysts has it, and only the learner
-- reads it. A learner's lists are apart from the catalogue's, also those with the same id.
-- Also held by: operations/test_erasure.py.

-- table --
CREATE TABLE own_lists (
    user_id      text COLLATE "C" NOT NULL,
    list_id      text COLLATE "C" NOT NULL,
    decided_at   timestamptz,              -- time of the latest ListPublished or ListArchived; null: none
    decided_id   uuid,
    is_archived  boolean NOT NULL,
    described_at timestamptz,              -- time of the latest ListPublished; null: none
    described_id uuid,
    name         text COLLATE "C",
    scale        text COLLATE "C",
    rank         bigint,
    PRIMARY KEY (user_id, list_id)
);

-- functions --
CREATE FUNCTION fold_own_lists(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $lists$
BEGIN
{read_models/lists of_window}
INSERT INTO own_lists AS l
{read_models/own_lists definition}
ORDER BY user_id, list_id
ON CONFLICT (user_id, list_id) DO UPDATE SET
{read_models/lists later};
END
$lists$;

-- definition --
SELECT l.*
FROM (
{read_models/lists latest}
) l
WHERE user_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = l.user_id)

-- delete_learners --
DELETE FROM own_lists WHERE user_id = ANY (learners);

-- export lists --
COPY (
    SELECT 'own:' || l.list_id AS id, regexp_replace(l.name, current_setting('export.marked'), '''\&') AS name,
        regexp_replace(l.scale, current_setting('export.marked'), '''\&') AS scale, l.rank,
        CAST(l.is_archived AS text) AS archived,
        (SELECT least(count(*), 20000) FROM own_listed_items i
         WHERE i.user_id = l.user_id AND i.list_id = l.list_id AND i.is_listed) AS items
    FROM own_lists l
    WHERE l.user_id = current_setting('export.learner')
    ORDER BY l.list_id
) TO STDOUT (FORMAT csv, HEADER);
