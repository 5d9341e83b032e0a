-- One row for each domain and language, for each level and language, and for each pair of language and item's kind in
-- which a learner has studied an item. The batch job folds this table every five minutes. domain_stats and level_stats
-- add up its rows. The rows of the kind `language` count only described items: these pairs decide which items of the
-- catalogue count in the denominators.

-- table --
CREATE TABLE catalogue_shares (
    user_id               text COLLATE "C" NOT NULL,
    kind                  text COLLATE "C" NOT NULL,   -- domain, level or language
    name                  text COLLATE "C" NOT NULL,   -- R W L S, A1 … C2, UNKNOWN; of a language: the item's kind
    language              text COLLATE "C" NOT NULL,   -- see primary_language in items.sql
    items_studied         bigint NOT NULL,
    answers               bigint NOT NULL,
    correct_answers       bigint NOT NULL,
    learning              bigint NOT NULL,
    short_term            bigint NOT NULL,
    long_term             bigint NOT NULL,
    mastered_in_catalogue bigint NOT NULL, -- items of short_term or long_term that are still in the catalogue
    PRIMARY KEY (user_id, kind, name, language)
);

-- fold --
-- First count the changed learners' items for each combination of level, domains, language and kind, because few
-- combinations exist. Then add the counts of each combination to its level, to its pair and to each of its domains.
WITH described AS (
    {read_models/catalogue_shares described}
), studied AS MATERIALIZED (
    {read_models/catalogue_shares studied}
), gone AS (
    DELETE FROM catalogue_shares t
    USING batch_learners b
    WHERE t.user_id = b.user_id
      AND NOT EXISTS (
          SELECT FROM studied s
          WHERE s.user_id = t.user_id AND s.kind = t.kind AND s.name = t.name AND s.language = t.language)
)
INSERT INTO catalogue_shares AS t
SELECT * FROM studied
ORDER BY user_id, kind, name, language
ON CONFLICT (user_id, kind, name, language) DO UPDATE SET
    items_studied         = excluded.items_studied,
    answers               = excluded.answers,
    correct_answers       = excluded.correct_answers,
    learning              = excluded.learning,
    short_term            = excluded.short_term,
    long_term             = excluded.long_term,
    mastered_in_catalogue = excluded.mastered_in_catalogue
WHERE t IS DISTINCT FROM excluded;

-- definition --
-- An item without a catalogue event counts under the level UNKNOWN and under the domain UNKNOWN. An item without a
-- description has no language.
WITH placed AS (
    SELECT s.user_id, s.answers, s.correct_answers, s.interval_days, p.in_catalogue, k.kind,
        coalesce(p.name, 'UNKNOWN') AS name, coalesce(p.language, 'und') AS language
    FROM item_stats s
    CROSS JOIN (VALUES ('level'), ('domain'), ('language')) AS k (kind)
    LEFT JOIN item_places p ON p.item_id = s.item_id AND p.kind = k.kind
    WHERE k.kind <> 'language' OR p.item_id IS NOT NULL
)
SELECT user_id, kind, name, language,
    count(*) AS items_studied,
    CAST(sum(answers) AS bigint) AS answers,
    CAST(sum(correct_answers) AS bigint) AS correct_answers,
    count(*) FILTER (WHERE interval_days IS NULL OR interval_days < 7) AS learning,
    count(*) FILTER (WHERE interval_days BETWEEN 7 AND 20) AS short_term,
    count(*) FILTER (WHERE interval_days >= 21) AS long_term,
    count(*) FILTER (WHERE interval_days >= 7 AND in_catalogue) AS mastered_in_catalogue
FROM placed
GROUP BY user_id, kind, name, language

-- described --
SELECT s.user_id, i.level, i.domains,
        CASE WHEN i.described_at IS NOT NULL THEN {read_models/items primary_language} END AS language,
        {read_models/items kind} AS item_kind,
        count(*) AS items, sum(s.answers) AS answers, sum(s.correct_answers) AS correct_answers,
        count(*) FILTER (WHERE s.interval_days IS NULL OR s.interval_days < 7) AS learning,
        count(*) FILTER (WHERE s.interval_days BETWEEN 7 AND 20) AS short_term,
        count(*) FILTER (WHERE s.interval_days >= 21) AS long_term,
        count(*) FILTER (WHERE s.interval_days >= 7 AND i.in_catalogue) AS mastered
    FROM batch_learners b
    JOIN item_stats s ON s.user_id = b.user_id
    LEFT JOIN items i ON i.item_id = s.item_id
    GROUP BY 1, 2, 3, 4, 5

-- studied --
SELECT d.user_id, place.kind, place.name, coalesce(d.language, 'und') AS language,
        sum(d.items)::bigint AS items_studied, sum(d.answers)::bigint AS answers,
        sum(d.correct_answers)::bigint AS correct_answers, sum(d.learning)::bigint AS learning,
        sum(d.short_term)::bigint AS short_term, sum(d.long_term)::bigint AS long_term,
        sum(d.mastered)::bigint AS mastered_in_catalogue
    FROM described d
    CROSS JOIN LATERAL (
        SELECT 'level' AS kind, coalesce(d.level, 'UNKNOWN') AS name
        UNION ALL
        SELECT 'domain', unnest(CASE WHEN cardinality(d.domains) > 0 THEN d.domains ELSE '{UNKNOWN}' END)
        UNION ALL
        SELECT 'language', d.item_kind WHERE d.language IS NOT NULL
    ) AS place
    GROUP BY d.user_id, place.kind, place.name, coalesce(d.language, 'und')

-- sums --
-- The sums of the rows s over languages.
s.user_id, s.kind, s.name,
    CAST(sum(s.items_studied) AS bigint) AS items_studied, CAST(sum(s.answers) AS bigint) AS answers,
    CAST(sum(s.correct_answers) AS bigint) AS correct_answers, CAST(sum(s.learning) AS bigint) AS learning,
    CAST(sum(s.short_term) AS bigint) AS short_term, CAST(sum(s.long_term) AS bigint) AS long_term,
    CAST(sum(s.mastered_in_catalogue) AS bigint) AS mastered_in_catalogue

-- summed --
SELECT {read_models/catalogue_shares sums}
    FROM catalogue_shares s
    GROUP BY s.user_id, s.kind, s.name

-- of learner --
-- The start of a WITH clause: the numbers of the catalogue's items in the learner's pairs, and of the learner's items,
-- by kind and name. Unless :language is null, only the rows of this language count.
WITH learner AS (
    SELECT CAST(:user_id AS text) AS user_id
),
catalogue_counts AS (
    SELECT * FROM catalogue_counts WHERE CAST(:language AS text) IS NULL OR language = :language
),
catalogue_shares AS (
    SELECT * FROM catalogue_shares
    WHERE user_id = :user_id AND (CAST(:language AS text) IS NULL OR language = :language)
),
totals AS (
    {read_models/catalogue_counts totals}
),
shares AS (
    {read_models/catalogue_shares summed}
)

-- pairs --
-- The pairs of language and kind of the learner m in the last batch run, as texts; none before the first run.
SELECT s.language || ' ' || s.name
        FROM catalogue_shares s
        WHERE s.user_id = m.user_id AND s.kind = 'language'

-- share_fields --
-- The result columns from a row d and its denominator c, each of which may be missing. UNKNOWN has no denominator.
coalesce(d.items_studied, 0)                       AS items_studied,
coalesce(d.answers, 0)                             AS answers,
coalesce(d.correct_answers, 0)                     AS correct_answers,
CAST(d.correct_answers AS double precision) / nullif(d.answers, 0) AS accuracy_rate,
coalesce(d.learning, 0)                            AS learning,
coalesce(d.short_term, 0)                          AS short_term_mastered,
coalesce(d.long_term, 0)                           AS long_term_mastered,
CASE WHEN name <> 'UNKNOWN' THEN coalesce(c.items, 0) END AS catalogue_items,
CASE WHEN name <> 'UNKNOWN'
     THEN CAST(coalesce(d.mastered_in_catalogue, 0) AS double precision)
          / nullif(c.items, 0) END                 AS progress_rate
