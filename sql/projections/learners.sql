-- The learners, as `progress learners` lists them.

-- find --
-- The learners whose id contains the text :part, in upper or lower case; ordered by id.
SELECT user_id, answers, sessions_completed, items_learned, last_updated
FROM user_progress
WHERE strpos(lower(user_id), lower(:part)) > 0
ORDER BY user_id
LIMIT :limit;
