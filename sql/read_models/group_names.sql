-- One row per group and learner: the name of the group in the learner's latest LearnerJoinedGroup that has one. The
-- group's name is the latest of these names. A row for each learner lets a name go with its learner.

-- table --
CREATE TABLE group_names (
    group_id   text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    group_name text COLLATE "C" NOT NULL,
    named_at   timestamptz NOT NULL,       -- the latest event with a name
    named_id   uuid        NOT NULL,
    PRIMARY KEY (user_id, group_id)
);

CREATE INDEX group_names_by_time ON group_names (group_id, named_at, named_id);

-- fold --
IF 'join' = ANY (window_kinds) THEN
INSERT INTO group_names AS n
SELECT DISTINCT ON (user_id, group_id) group_id, user_id, group_name, occurred_at, event_id
FROM window_facts
WHERE kind = 'join' AND group_name <> ''
ORDER BY user_id, group_id, occurred_at DESC, event_id DESC
ON CONFLICT (user_id, group_id) DO UPDATE SET
    group_name = excluded.group_name,
    named_at   = excluded.named_at,
    named_id   = excluded.named_id
WHERE (excluded.named_at, excluded.named_id) > (n.named_at, n.named_id);
END IF;

-- definition --
SELECT group_id, user_id, group_name, occurred_at AS named_at, event_id AS named_id
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY user_id, group_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM facts e
    WHERE e.kind = 'join' AND e.group_name <> ''
      AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
) named
WHERE place = 1

-- latest --
-- The row with the name of a group g.
SELECT n.group_name, n.named_id
FROM group_names n
WHERE n.group_id = g.group_id
ORDER BY n.named_at DESC, n.named_id DESC
LIMIT 1
