-- A learner's progress in each domain of the catalogue.

-- views --
-- Every domain that has items in the catalogue or that the learner studied.
CREATE VIEW domain_stats AS
SELECT user_id, name AS domain,
    {read_models/catalogue_shares share_fields}
FROM (
    SELECT p.user_id, counted.name, counted.items
    FROM catalogue_counts AS counted
    CROSS JOIN user_progress AS p
    WHERE counted.kind = 'domain'
) AS c
FULL JOIN (SELECT * FROM catalogue_shares WHERE kind = 'domain') AS d USING (user_id, name);

-- by domain --
-- Every domain that has items in the catalogue or that the learner studied.
SELECT name AS domain,
    {read_models/catalogue_shares share_fields}
FROM (SELECT name, items FROM catalogue_counts WHERE kind = 'domain') AS c
FULL JOIN (SELECT * FROM catalogue_shares WHERE user_id = :user_id AND kind = 'domain') AS d USING (name)
ORDER BY CASE name WHEN 'R' THEN 1 WHEN 'W' THEN 2 WHEN 'L' THEN 3 WHEN 'S' THEN 4 ELSE 5 END;

-- export domains --
COPY (
    WITH {operations/export_user shares}
    SELECT name AS domain,
        {read_models/catalogue_shares share_fields}
    FROM (SELECT name, items FROM counted WHERE kind = 'domain') AS c
    FULL JOIN (SELECT * FROM studied WHERE kind = 'domain') AS d USING (name)
    ORDER BY CASE name WHEN 'R' THEN 1 WHEN 'W' THEN 2 WHEN 'L' THEN 3 WHEN 'S' THEN 4 ELSE 5 END
) TO STDOUT (FORMAT csv, HEADER);
