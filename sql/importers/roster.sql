-- What the read models say of the classes in a roster. progress/importers/roster.py runs the blocks.

-- members --
-- Who is, or was, a member of the groups.
SELECT group_id, user_id, is_member, decided_at FROM group_members WHERE group_id = ANY (CAST(:groups AS text[]));

-- group names --
-- The latest names of the groups.
SELECT g.group_id, (SELECT group_name FROM ({read_models/group_names latest}) AS latest) AS name
FROM unnest(CAST(:groups AS text[])) AS g (group_id);

-- names --
SELECT user_id, display_name, named_at FROM display_names WHERE user_id = ANY (CAST(:learners AS text[]));
