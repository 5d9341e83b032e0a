-- The states of many learners in one statement, for live queries. A learner's state consists of `current` (from
-- user_progress) and `streak` (from learning_streaks). Each state has a version.

-- versions --
-- A string that changes with each change of a learner's state, except for changes that the clock alone causes, and with
-- each change of their tasks.
SELECT today.user_id, concat_ws(' ', coalesce(v.version, 0), c.catalogue, c.swap, t.version) AS version
FROM unnest(CAST(:learners AS text[])) AS today (user_id)
CROSS JOIN (SELECT sum(catalogue_version) AS catalogue, max(swap_version) AS swap FROM checkpoints) AS c
CROSS JOIN LATERAL ({query/learner_states tasks}) AS t
LEFT JOIN learner_versions v ON v.user_id = today.user_id;

-- tasks --
-- A number that changes when a task of the learner of `today` is set, changed or taken back, or its list is folded;
-- null if there never was one.
SELECT CASE WHEN count(*) > 0 THEN hashtextextended(concat_ws(' ', max(s.decided_at), count(l.list_id)), 0) END
        AS version
    FROM group_members m
    JOIN list_assignments s ON s.group_id = m.group_id
    LEFT JOIN lists l ON l.list_id = s.list_id
    WHERE m.user_id = today.user_id AND m.is_member

-- states --
-- One row per learner; the progress of a learner without events is null. From `begins_at` until `expires_at`, it is the
-- same local day, with the same offset of the local time.
WITH local_time AS (
    SELECT a.user_id, coalesce(s.shift, INTERVAL '0 hours') AS shift, s.starts_at, s.ends_at
    FROM unnest(CAST(:learners AS text[])) AS a (user_id)
    LEFT JOIN LATERAL (
        SELECT shift, starts_at, ends_at FROM segments s
        WHERE s.user_id = a.user_id AND s.starts_at <= :now AND s.ends_at > :now
        OFFSET 0
    ) s ON TRUE
),
today AS (
    SELECT user_id, CAST(CAST(:now AS timestamptz) + shift AS date) AS day,
        greatest(starts_at, CAST(CAST(CAST(:now AS timestamptz) + shift AS date) AS timestamptz) - shift) AS begins_at,
        least(ends_at, CAST(CAST(CAST(:now AS timestamptz) + shift AS date) + 1 AS timestamptz) - shift) AS expires_at
    FROM local_time
),
shared AS MATERIALIZED (
    SELECT sum(catalogue_version) AS catalogue, max(swap_version) AS swap FROM checkpoints
)
SELECT
    today.user_id,
    concat_ws(' ', coalesce(v.version, 0), shared.catalogue, shared.swap, t.version) AS version,
    CAST(t.version AS text)                            AS tasks,
    today.begins_at,
    today.expires_at,
    p.user_id IS NOT NULL                              AS has_progress,
    (SELECT n.display_name FROM display_names n WHERE n.user_id = today.user_id) AS display_name,
    p.items_learned                                    AS total_items_learned,
    p.sessions_completed                               AS total_sessions_completed,
    CAST(floor(p.study_seconds / 60.0) AS bigint)      AS total_study_time_minutes,
    CAST(p.correct_answers AS double precision)
        / nullif(p.answers, 0)                         AS accuracy_rate,
    ({read_models/user_progress unlearned})            AS unlearned,
    p.learning,
    p.short_term                                       AS short_term_mastered,
    p.long_term                                        AS long_term_mastered,
    p.last_updated,
    {read_models/learning_streaks streak_fields}
FROM today
CROSS JOIN shared
CROSS JOIN LATERAL ({query/learner_states tasks}) AS t
LEFT JOIN learner_versions v ON v.user_id = today.user_id
LEFT JOIN user_progress p ON p.user_id = today.user_id
{read_models/learning_streaks latest}
{read_models/learning_streaks longest};
