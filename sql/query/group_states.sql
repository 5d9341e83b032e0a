-- The versions of many groups in one statement, for live queries.

-- versions --
-- A string that changes with each change of a member's state, of the members and of the group's name. OFFSET 0 makes
-- the planner look up each member.
SELECT g.group_id, concat_ws(' ', m.members, m.versions, c.swap, n.named_id) AS version
FROM unnest(CAST(:groups AS text[])) AS g (group_id)
CROSS JOIN (SELECT max(swap_version) AS swap FROM checkpoints) AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS members, sum(hashtextextended(m.user_id, coalesce(v.version, 0))) AS versions
    FROM group_members m
    LEFT JOIN LATERAL (SELECT v.version FROM learner_versions v WHERE v.user_id = m.user_id OFFSET 0) v ON TRUE
    WHERE m.group_id = g.group_id AND m.is_member
) AS m
LEFT JOIN LATERAL ({read_models/group_names latest}) AS n ON TRUE;
