-- One row per learner with an event of a known type.

-- table --
CREATE TABLE user_progress (
    user_id            text COLLATE "C" PRIMARY KEY,
    items_learned      bigint NOT NULL,    -- number of items ever answered correctly
    items_mastered     bigint NOT NULL,    -- number of items that ever reached an interval of 7 days
    sessions_completed bigint NOT NULL,
    study_seconds      bigint NOT NULL,
    answers            bigint NOT NULL,
    correct_answers    bigint NOT NULL,
    learning           bigint NOT NULL,
    short_term         bigint NOT NULL,    -- number of items with an interval of 7 to 20 days
    long_term          bigint NOT NULL,    -- number of items with an interval of 21 days or more
    last_updated       timestamptz NOT NULL,
    version            bigint NOT NULL     -- transaction that changed a row of the learner last
) WITH (fillfactor = 50);

-- fold --
WITH seen AS (
    SELECT user_id,
        coalesce(sum(change) FILTER (WHERE grade IS NOT NULL), 0) AS answers,
        coalesce(sum(change) FILTER (WHERE correct), 0) AS correct_answers,
        max(created_at) AS last_updated
    FROM window_facts
    GROUP BY user_id
), studied AS (
    SELECT user_id, sum(sessions_completed)::bigint AS sessions_completed, sum(study_seconds)::bigint AS study_seconds
    FROM window_days
    GROUP BY user_id
), moved AS (
    SELECT user_id,
        count(first_correct_on) - count(had_correct_on) AS items_learned,
        count(*) FILTER (WHERE first_mastered_on IS NOT NULL AND had_mastered_on IS NULL) AS items_mastered,
        count(*) FILTER (WHERE now.mastery = 0) - count(*) FILTER (WHERE had.mastery = 0) AS learning,
        count(*) FILTER (WHERE now.mastery = 1) - count(*) FILTER (WHERE had.mastery = 1) AS short_term,
        count(*) FILTER (WHERE now.mastery = 2) - count(*) FILTER (WHERE had.mastery = 2) AS long_term
    FROM window_items
    CROSS JOIN LATERAL (
        SELECT CASE WHEN interval_days >= 21 THEN 2 WHEN interval_days >= 7 THEN 1
            WHEN answers > 0 OR reviewed_at IS NOT NULL THEN 0 END
    ) now (mastery)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN had_interval_days >= 21 THEN 2 WHEN had_interval_days >= 7 THEN 1
            WHEN place IS NOT NULL THEN 0 END
    ) had (mastery)
    GROUP BY user_id
)
INSERT INTO user_progress AS p
SELECT s.user_id,
    coalesce(m.items_learned, 0)      AS items_learned,
    coalesce(m.items_mastered, 0)     AS items_mastered,
    coalesce(c.sessions_completed, 0) AS sessions_completed,
    coalesce(c.study_seconds, 0)      AS study_seconds,
    s.answers,
    s.correct_answers,
    coalesce(m.learning, 0)           AS learning,
    coalesce(m.short_term, 0)         AS short_term,
    coalesce(m.long_term, 0)          AS long_term,
    s.last_updated,
    (SELECT pg_current_xact_id()::text::bigint) AS version
FROM seen s
LEFT JOIN studied c ON c.user_id = s.user_id
LEFT JOIN moved m ON m.user_id = s.user_id
ORDER BY s.user_id
ON CONFLICT (user_id) DO UPDATE SET
    items_learned      = p.items_learned      + excluded.items_learned,
    items_mastered     = p.items_mastered     + excluded.items_mastered,
    sessions_completed = p.sessions_completed + excluded.sessions_completed,
    study_seconds      = p.study_seconds      + excluded.study_seconds,
    answers            = p.answers            + excluded.answers,
    correct_answers    = p.correct_answers    + excluded.correct_answers,
    learning           = p.learning           + excluded.learning,
    short_term         = p.short_term         + excluded.short_term,
    long_term          = p.long_term          + excluded.long_term,
    last_updated       = greatest(p.last_updated, excluded.last_updated),
    version            = excluded.version;

-- definition --
WITH studied AS (
    SELECT user_id, CAST(sum(sessions_completed) AS bigint) AS sessions_completed,
        CAST(sum(study_seconds) AS bigint) AS study_seconds
    FROM daily_stats
    GROUP BY user_id
), learned AS (
    SELECT user_id,
        count(first_correct_on) AS items_learned,
        count(first_mastered_on) AS items_mastered,
        CAST(sum(answers) AS bigint) AS answers,
        CAST(sum(correct_answers) AS bigint) AS correct_answers,
        count(*) FILTER (WHERE interval_days IS NULL OR interval_days < 7) AS learning,
        count(*) FILTER (WHERE interval_days BETWEEN 7 AND 20) AS short_term,
        count(*) FILTER (WHERE interval_days >= 21) AS long_term
    FROM item_stats
    GROUP BY user_id
)
SELECT k.user_id,
    coalesce(l.items_learned, 0)      AS items_learned,
    coalesce(l.items_mastered, 0)     AS items_mastered,
    coalesce(s.sessions_completed, 0) AS sessions_completed,
    coalesce(s.study_seconds, 0)      AS study_seconds,
    coalesce(l.answers, 0)            AS answers,
    coalesce(l.correct_answers, 0)    AS correct_answers,
    coalesce(l.learning, 0)           AS learning,
    coalesce(l.short_term, 0)         AS short_term,
    coalesce(l.long_term, 0)          AS long_term,
    k.last_updated
FROM known_learners k
LEFT JOIN studied s ON s.user_id = k.user_id
LEFT JOIN learned l ON l.user_id = k.user_id

-- loaded --
-- The relation `rebuild` is in sql/recovery/bucket_folds.sql.
SELECT p.*, r.version
FROM user_progress p
CROSS JOIN rebuild r

-- current --
-- A learner's summary at the time of the query. Two numbers are not stored, so the query computes them: the streak
-- depends on the current day, and `unlearned` depends on the catalogue.
WITH today AS (
    SELECT CAST(:user_id AS text) AS user_id, local.day FROM ({read_models/preferences today}) AS local
)
SELECT
    p.user_id,
    (SELECT n.display_name FROM display_names n WHERE n.user_id = :user_id) AS display_name,
    p.items_learned                                    AS total_items_learned,
    p.sessions_completed                               AS total_sessions_completed,
    CAST(floor(p.study_seconds / 60.0) AS bigint)      AS total_study_time_minutes,
    {read_models/learning_streaks current}             AS current_streak,
    CAST(p.correct_answers AS double precision)
        / nullif(p.answers, 0)                         AS accuracy_rate,
    ({read_models/user_progress unlearned})            AS unlearned,
    p.learning,
    p.short_term                                       AS short_term_mastered,
    p.long_term                                        AS long_term_mastered,
    p.last_updated
FROM user_progress p
CROSS JOIN today
{read_models/learning_streaks latest}
WHERE p.user_id = :user_id;

-- unlearned --
-- The number of the catalogue's items that the learner of `today` has not met, in the pairs of language and kind of the
-- described items that the learner met; in all pairs, if the learner met none. The items are first counted by tag,
-- because primary_language takes time and tags are few.
SELECT CAST(coalesce(sum(coalesce(c.items, 0) - m.items), (
        SELECT sum(c.size) FROM catalogue_sizes c WHERE c.kind = 'pair'
    ), 0) AS bigint)
    FROM (
        SELECT {read_models/items primary_language} AS language, {read_models/items kind} AS item_kind,
            sum(i.items) AS items
        FROM (
            SELECT i.language, i.kind, count(*) FILTER (WHERE i.in_catalogue) AS items
            FROM item_stats s
            CROSS JOIN LATERAL (SELECT * FROM items d WHERE d.item_id = s.item_id /* each */) AS i
            WHERE s.user_id = today.user_id AND i.described_at IS NOT NULL
            GROUP BY 1, 2
        ) AS i
        GROUP BY 1, 2
    ) AS m
    CROSS JOIN LATERAL (
        SELECT sum(c.size) AS items
        FROM catalogue_sizes c
        WHERE c.kind = 'pair' AND c.name = '' AND c.language = m.language AND c.item_kind = m.item_kind
    ) AS c
