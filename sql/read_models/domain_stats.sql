-- A learner's progress in each domain of the catalogue.

-- views --
-- Every domain that the catalogue has items in, in the learner's pairs, or that the learner studied.
CREATE VIEW domain_stats AS
WITH learner AS (
    SELECT user_id FROM user_progress
), totals AS (
    {read_models/catalogue_counts totals}
)
SELECT user_id, name AS domain,
    {read_models/catalogue_shares share_fields}
FROM (SELECT user_id, name, items FROM totals WHERE kind = 'domain') AS c
FULL JOIN (
    SELECT * FROM ({read_models/catalogue_shares summed}) AS s WHERE kind = 'domain'
) AS d USING (user_id, name);

-- by domain --
-- Every domain that the catalogue has items in, in the learner's pairs, or that the learner studied. With a
-- language, only its items count.
{read_models/catalogue_shares of learner}
SELECT name AS domain,
    {read_models/catalogue_shares share_fields}
FROM (SELECT name, items FROM totals WHERE kind = 'domain') AS c
FULL JOIN (SELECT * FROM shares WHERE kind = 'domain') AS d USING (name)
ORDER BY CASE name WHEN 'R' THEN 1 WHEN 'W' THEN 2 WHEN 'L' THEN 3 WHEN 'S' THEN 4 ELSE 5 END;

-- export domains --
-- One row for each skill: R reading, W writing, L listening, S speaking. | 技能ごとに1行です（R＝読む、W＝書く、L＝聞く、S＝話す）。
COPY (
    WITH {operations/export_user shares}
    SELECT name AS domain,
        {read_models/catalogue_shares share_fields}
    FROM (SELECT name, items FROM totals WHERE kind = 'domain') AS c
    FULL JOIN (
        SELECT * FROM ({read_models/catalogue_shares summed}) AS s WHERE kind = 'domain'
    ) AS d USING (name)
    ORDER BY CASE name WHEN 'R' THEN 1 WHEN 'W' THEN 2 WHEN 'L' THEN 3 WHEN 'S' THEN 4 ELSE 5 END
) TO STDOUT (FORMAT csv, HEADER);
