-- One row per learner and CEFR level with a studied item. The batch job folds it every five minutes.

-- table --
CREATE TABLE level_stats (
    user_id               text COLLATE "C" NOT NULL,
    level                 text COLLATE "C" NOT NULL,   -- A1 … C2 UNKNOWN
    items_studied         bigint NOT NULL,
    answers               bigint NOT NULL,
    correct_answers       bigint NOT NULL,
    learning              bigint NOT NULL,
    short_term            bigint NOT NULL,
    long_term             bigint NOT NULL,
    mastered_in_catalogue bigint NOT NULL, -- short and long term, of items still in the catalogue
    PRIMARY KEY (user_id, level)
);

-- fold --
-- Count the changed learners' items by their latest descriptions.
WITH studied AS MATERIALIZED (
    SELECT s.user_id, place.level,
        count(*) AS items_studied, sum(s.answers)::bigint AS answers, sum(s.correct_answers)::bigint AS correct_answers,
        count(*) FILTER (WHERE s.interval_days IS NULL OR s.interval_days < 7) AS learning,
        count(*) FILTER (WHERE s.interval_days BETWEEN 7 AND 20) AS short_term,
        count(*) FILTER (WHERE s.interval_days >= 21) AS long_term,
        count(*) FILTER (WHERE s.interval_days >= 7 AND i.in_catalogue) AS mastered_in_catalogue
    FROM batch_learners b
    JOIN item_stats s ON s.user_id = b.user_id
    LEFT JOIN items i ON i.item_id = s.item_id
    CROSS JOIN LATERAL (SELECT coalesce(i.level, 'UNKNOWN')) AS place (level)
    GROUP BY s.user_id, place.level
), gone AS (
    DELETE FROM level_stats t
    USING batch_learners b
    WHERE t.user_id = b.user_id
      AND NOT EXISTS (SELECT FROM studied s WHERE s.user_id = t.user_id AND s.level = t.level)
)
INSERT INTO level_stats AS t
SELECT * FROM studied
ORDER BY user_id, level
ON CONFLICT (user_id, level) DO UPDATE SET
    items_studied         = excluded.items_studied,
    answers               = excluded.answers,
    correct_answers       = excluded.correct_answers,
    learning              = excluded.learning,
    short_term            = excluded.short_term,
    long_term             = excluded.long_term,
    mastered_in_catalogue = excluded.mastered_in_catalogue
WHERE t IS DISTINCT FROM excluded;

-- delete_learners --
DELETE FROM level_stats WHERE user_id = ANY (learners);

-- by level --
-- Every level that has items in the catalogue or that the learner studied, from A1 to C2. UNKNOWN comes last and has no
-- denominator.
SELECT
    level,
    coalesce(d.items_studied, 0)                       AS items_studied,
    coalesce(d.answers, 0)                             AS answers,
    coalesce(d.correct_answers, 0)                     AS correct_answers,
    CAST(d.correct_answers AS double precision) / nullif(d.answers, 0) AS accuracy_rate,
    coalesce(d.learning, 0)                            AS learning,
    coalesce(d.short_term, 0)                          AS short_term_mastered,
    coalesce(d.long_term, 0)                           AS long_term_mastered,
    CASE WHEN level <> 'UNKNOWN' THEN coalesce(c.items, 0) END AS catalogue_items,
    CASE WHEN level <> 'UNKNOWN'
         THEN CAST(coalesce(d.mastered_in_catalogue, 0) AS double precision)
              / nullif(c.items, 0) END                 AS progress_rate
FROM (SELECT name AS level, items FROM catalogue_counts WHERE kind = 'level') AS c
FULL JOIN (SELECT * FROM level_stats WHERE user_id = :user_id AND items_studied > 0) AS d
    USING (level)
ORDER BY level COLLATE "C";
