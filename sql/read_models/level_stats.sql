-- A learner's progress in each CEFR level of the catalogue.

-- views --
-- Every level that the catalogue has items in, in the learner's pairs, or that the learner studied.
CREATE VIEW level_stats AS
WITH learner AS (
    SELECT user_id FROM user_progress
), totals AS (
    {read_models/catalogue_counts totals}
)
SELECT user_id, name AS level,
    {read_models/catalogue_shares share_fields}
FROM (SELECT user_id, name, items FROM totals WHERE kind = 'level') AS c
FULL JOIN (
    SELECT * FROM ({read_models/catalogue_shares summed}) AS s WHERE kind = 'level'
) AS d USING (user_id, name);

-- by level --
-- Every level that the catalogue has items in, in the learner's pairs, or that the learner studied, from A1 to C2.
-- With a language, only its items count. UNKNOWN comes last, and has no forecast. The forecast (expected_date) assumes
-- the pace of the last 28 local days. It is null if this pace is too low to be reliable.
{read_models/catalogue_shares of learner},
today AS (
    {read_models/preferences today}
),
recent AS (
    SELECT m.level, CAST(sum(m.items) AS bigint) AS items
    FROM mastery_days m
    WHERE m.user_id = :user_id
      AND m.day BETWEEN (SELECT day FROM today) - 27 AND (SELECT day FROM today)
      AND (CAST(:language AS text) IS NULL OR m.language = :language)
    GROUP BY m.level
)
SELECT name AS level,
    {read_models/catalogue_shares share_fields},
    {read_models/level_stats forecast_fields}
FROM (
    (SELECT name, items FROM totals WHERE kind = 'level') AS c
    FULL JOIN (SELECT * FROM shares WHERE kind = 'level') AS d USING (name)
)
CROSS JOIN today
LEFT JOIN recent r ON r.level = name
{read_models/level_stats forecast}
ORDER BY name COLLATE "C";

-- forecast_fields --
-- The result columns of a forecast.
coalesce(r.items, 0)                               AS mastered_last28_days,
CASE WHEN r.items >= 10 AND missing.items > 0 AND ahead.days <= 3650
     THEN today.day + CAST(ahead.days AS integer) END AS expected_date,
coalesce(missing.items <= 0, FALSE)                AS reached

-- forecast --
-- Joins the forecast for the c.items items of a level or a list, of which the learner has mastered
-- d.mastered_in_catalogue, and r.items, null if none, in the last 28 days.
CROSS JOIN LATERAL (
    SELECT (4 * c.items + 4) / 5 - coalesce(d.mastered_in_catalogue, 0) AS items  -- 80 %, rounded up
) AS missing
CROSS JOIN LATERAL (
    SELECT (28 * missing.items + r.items - 1) / r.items AS days                   -- rounded up
) AS ahead

-- export levels --
-- One row for each CEFR level, from A1 to C2. | CEFRレベル（A1～C2）ごとに1行です。
COPY (
    WITH {operations/export_user shares}
    SELECT name AS level,
        {read_models/catalogue_shares share_fields}
    FROM (SELECT name, items FROM totals WHERE kind = 'level') AS c
    FULL JOIN (
        SELECT * FROM ({read_models/catalogue_shares summed}) AS s WHERE kind = 'level'
    ) AS d USING (name)
    ORDER BY name COLLATE "C"
) TO STDOUT (FORMAT csv, HEADER);
