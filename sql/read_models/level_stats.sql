-- A learner's progress in each CEFR level of the catalogue.

-- by level --
-- Every level that has items in the catalogue or that the learner studied, from A1 to C2. UNKNOWN comes last.
SELECT name AS level,
    {read_models/catalogue_shares share_fields}
FROM (SELECT name, items FROM catalogue_counts WHERE kind = 'level') AS c
FULL JOIN (SELECT * FROM catalogue_shares WHERE user_id = :user_id AND kind = 'level') AS d USING (name)
ORDER BY name COLLATE "C";
