-- One row per learner whose events ever set or removed the display name: the present name. The name is personal, so it
-- has no view for analysts. Queries about the past return the present name.

-- table --
CREATE TABLE display_names (
    user_id      text COLLATE "C" PRIMARY KEY,
    display_name text COLLATE "C",         -- null: removed
    named_at     timestamptz NOT NULL,     -- the latest event that set or removed the name
    named_id     uuid        NOT NULL
);

-- functions --
-- Fold these preference events.
CREATE FUNCTION fold_display_names(positions bigint[]) RETURNS void LANGUAGE sql AS $names$
INSERT INTO display_names AS n
SELECT DISTINCT ON (user_id) user_id, nullif(display_name, ''), occurred_at, event_id
FROM preference_facts
WHERE global_position = ANY (positions) AND display_name IS NOT NULL
ORDER BY user_id, occurred_at DESC, event_id DESC
ON CONFLICT (user_id) DO UPDATE SET
    display_name = excluded.display_name,
    named_at     = excluded.named_at,
    named_id     = excluded.named_id
WHERE (excluded.named_at, excluded.named_id) > (n.named_at, n.named_id)
$names$;

-- definition --
SELECT user_id, nullif(display_name, '') AS display_name, occurred_at AS named_at, event_id AS named_id
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY e.user_id ORDER BY e.occurred_at DESC, e.event_id DESC) AS place
    FROM facts e
    WHERE e.kind = 'preference' AND e.display_name IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
) AS ranked
WHERE place = 1

-- delete_learners --
DELETE FROM display_names WHERE user_id = ANY (learners);

-- search --
-- The known learners with :text in the id or the display name, in any case. The learner with exactly this id comes
-- first, then ids and names that begin with the text, then the others. Within each, learners are sorted by name, those
-- without a name last, then by id. Ids and names are searched apart, so that only what is found is joined.
WITH sought AS MATERIALIZED (
    SELECT event_store.fold_case(CAST(:text AS text)) AS text
), found AS (
    SELECT p.user_id, n.display_name, starts_with(event_store.fold_case(p.user_id), (SELECT text FROM sought)) AS begins
    FROM user_progress p
    LEFT JOIN display_names n ON n.user_id = p.user_id
    WHERE strpos(event_store.fold_case(p.user_id), (SELECT text FROM sought)) > 0
    UNION ALL
    SELECT user_id, display_name, FALSE
    FROM display_names
    WHERE strpos(event_store.fold_case(display_name), (SELECT text FROM sought)) > 0
      AND strpos(event_store.fold_case(user_id), (SELECT text FROM sought)) = 0
)
SELECT user_id, display_name
FROM found
ORDER BY user_id = :text DESC,
    begins OR coalesce(starts_with(event_store.fold_case(display_name), (SELECT text FROM sought)), FALSE) DESC,
    display_name NULLS LAST, user_id
LIMIT CAST(:first AS bigint);
