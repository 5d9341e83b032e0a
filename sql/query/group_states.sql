-- The versions of many groups in one statement, for live queries.

-- versions --
-- A string that changes with each change of a member's state and with each change of the members. OFFSET 0 makes the
-- planner look up each member.
SELECT a.group_id, concat_ws(' ', m.members, m.versions, c.swap) AS version
FROM unnest(CAST(:groups AS text[])) AS a (group_id)
CROSS JOIN (SELECT max(swap_version) AS swap FROM checkpoints) AS c
CROSS JOIN LATERAL (
    SELECT count(*) AS members, sum(hashtextextended(m.user_id, coalesce(v.version, 0))) AS versions
    FROM group_members m
    LEFT JOIN LATERAL (SELECT v.version FROM learner_versions v WHERE v.user_id = m.user_id OFFSET 0) v ON TRUE
    WHERE m.group_id = a.group_id AND m.is_member
) AS m;
