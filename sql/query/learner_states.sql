-- States of many learners at once, for live queries: `current` (user_progress) and `streak` (learning_streaks) of
-- each learner in one statement, and their versions.

-- versions --
-- A text that differs after each change of a learner's state, except for changes by the clock alone.
SELECT a.user_id, concat_ws(' ', coalesce(v.version, 0), c.catalogue, c.swap) AS version
FROM unnest(CAST(:learners AS text[])) AS a (user_id)
CROSS JOIN (SELECT sum(catalogue_version) AS catalogue, max(swap_version) AS swap FROM checkpoints) AS c
LEFT JOIN learner_versions v ON v.user_id = a.user_id;

-- states --
-- One row per learner; progress is NULL without events. `expires_at` is the end of the learner's local day, or the
-- moment at which they move to another zone.
WITH local_time AS (
    SELECT a.user_id, coalesce(s.shift, INTERVAL '0 hours') AS shift, coalesce(s.ends_at, 'infinity') AS ends_at
    FROM unnest(CAST(:learners AS text[])) AS a (user_id)
    LEFT JOIN LATERAL (
        SELECT shift, ends_at FROM segments s
        WHERE s.user_id = a.user_id AND s.starts_at <= :now AND s.ends_at > :now
        OFFSET 0
    ) s ON TRUE
),
local_day AS (
    SELECT user_id, CAST(CAST(:now AS timestamptz) + shift AS date) AS day,
        least(ends_at, CAST(CAST(CAST(:now AS timestamptz) + shift AS date) + 1 AS timestamptz) - shift) AS expires_at
    FROM local_time
),
catalogue AS MATERIALIZED (
    SELECT count(*) AS items FROM items WHERE in_catalogue
),
shared AS MATERIALIZED (
    SELECT sum(catalogue_version) AS catalogue, max(swap_version) AS swap FROM checkpoints
)
SELECT
    a.user_id,
    concat_ws(' ', coalesce(v.version, 0), shared.catalogue, shared.swap) AS version,
    a.expires_at,
    p.user_id IS NOT NULL                              AS has_progress,
    p.items_learned                                    AS total_items_learned,
    p.sessions_completed                               AS total_sessions_completed,
    CAST(floor(p.study_seconds / 60.0) AS bigint)      AS total_study_time_minutes,
    CAST(p.correct_answers AS double precision)
        / nullif(p.answers, 0)                         AS accuracy_rate,
    catalogue.items - met.items                        AS unlearned,
    p.learning,
    p.short_term                                       AS short_term_mastered,
    p.long_term                                        AS long_term_mastered,
    p.last_updated,
    CASE WHEN latest.ends >= a.day - 1
         THEN latest.ends - latest.starts + 1 ELSE 0 END  AS current,
    coalesce(longest.ends - longest.starts + 1, 0)     AS longest,
    longest.starts                                     AS longest_start,
    longest.ends                                       AS longest_end,
    latest.ends                                        AS last_study_date,
    coalesce(latest.ends >= a.day, FALSE)              AS active_today,
    coalesce(latest.ends = a.day - 1, FALSE)           AS at_risk
FROM local_day a
CROSS JOIN catalogue
CROSS JOIN shared
LEFT JOIN learner_versions v ON v.user_id = a.user_id
LEFT JOIN user_progress p ON p.user_id = a.user_id
CROSS JOIN LATERAL (
    SELECT count(*) AS items
    FROM item_stats s
    JOIN items i ON i.item_id = s.item_id AND i.in_catalogue
    WHERE s.user_id = a.user_id
) AS met
LEFT JOIN LATERAL (
    SELECT starts, ends FROM learning_streaks s
    WHERE s.user_id = a.user_id
    ORDER BY starts DESC LIMIT 1
) AS latest ON TRUE
LEFT JOIN LATERAL (
    SELECT starts, ends FROM learning_streaks s
    WHERE s.user_id = a.user_id
    ORDER BY ends - starts DESC, starts LIMIT 1
) AS longest ON TRUE;
