-- One row per learner and domain with a studied item. The batch job folds it every five minutes.

-- table --
CREATE TABLE domain_stats (
    user_id               text COLLATE "C" NOT NULL,
    domain                text COLLATE "C" NOT NULL,   -- R W L S UNKNOWN
    items_studied         bigint NOT NULL,
    answers               bigint NOT NULL,
    correct_answers       bigint NOT NULL,
    learning              bigint NOT NULL,
    short_term            bigint NOT NULL,
    long_term             bigint NOT NULL,
    mastered_in_catalogue bigint NOT NULL, -- short and long term, of items still in the catalogue
    PRIMARY KEY (user_id, domain)
);

-- fold --
-- Count the changed learners' items by their latest descriptions.
WITH studied AS MATERIALIZED (
    SELECT s.user_id, place.domain,
        count(*) AS items_studied, sum(s.answers)::bigint AS answers, sum(s.correct_answers)::bigint AS correct_answers,
        count(*) FILTER (WHERE s.interval_days IS NULL OR s.interval_days < 7) AS learning,
        count(*) FILTER (WHERE s.interval_days BETWEEN 7 AND 20) AS short_term,
        count(*) FILTER (WHERE s.interval_days >= 21) AS long_term,
        count(*) FILTER (WHERE s.interval_days >= 7 AND i.in_catalogue) AS mastered_in_catalogue
    FROM batch_learners b
    JOIN item_stats s ON s.user_id = b.user_id
    LEFT JOIN items i ON i.item_id = s.item_id
    CROSS JOIN LATERAL unnest(
        CASE WHEN cardinality(i.domains) > 0 THEN i.domains ELSE '{UNKNOWN}' END) AS place (domain)
    GROUP BY s.user_id, place.domain
), gone AS (
    DELETE FROM domain_stats t
    USING batch_learners b
    WHERE t.user_id = b.user_id
      AND NOT EXISTS (SELECT FROM studied s WHERE s.user_id = t.user_id AND s.domain = t.domain)
)
INSERT INTO domain_stats AS t
SELECT * FROM studied
ORDER BY user_id, domain
ON CONFLICT (user_id, domain) DO UPDATE SET
    items_studied         = excluded.items_studied,
    answers               = excluded.answers,
    correct_answers       = excluded.correct_answers,
    learning              = excluded.learning,
    short_term            = excluded.short_term,
    long_term             = excluded.long_term,
    mastered_in_catalogue = excluded.mastered_in_catalogue
WHERE t IS DISTINCT FROM excluded;

-- delete_learners --
DELETE FROM domain_stats WHERE user_id = ANY (learners);

-- by domain --
-- Every domain that has items in the catalogue or that the learner studied. UNKNOWN has no denominator.
SELECT
    domain,
    coalesce(d.items_studied, 0)                       AS items_studied,
    coalesce(d.answers, 0)                             AS answers,
    coalesce(d.correct_answers, 0)                     AS correct_answers,
    CAST(d.correct_answers AS double precision) / nullif(d.answers, 0) AS accuracy_rate,
    coalesce(d.learning, 0)                            AS learning,
    coalesce(d.short_term, 0)                          AS short_term_mastered,
    coalesce(d.long_term, 0)                           AS long_term_mastered,
    CASE WHEN domain <> 'UNKNOWN' THEN coalesce(c.items, 0) END AS catalogue_items,
    CASE WHEN domain <> 'UNKNOWN'
         THEN CAST(coalesce(d.mastered_in_catalogue, 0) AS double precision)
              / nullif(c.items, 0) END                 AS progress_rate
FROM (SELECT name AS domain, items FROM catalogue_counts WHERE kind = 'domain') AS c
FULL JOIN (SELECT * FROM domain_stats WHERE user_id = :user_id AND items_studied > 0) AS d
    USING (domain)
ORDER BY CASE domain WHEN 'R' THEN 1 WHEN 'W' THEN 2 WHEN 'L' THEN 3 WHEN 'S' THEN 4 ELSE 5 END;
