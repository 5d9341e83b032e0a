-- The learners for whom `progress warm` fills the cache.

-- list_learners --
-- The learners with the newest events.
SELECT user_id FROM user_progress ORDER BY last_updated DESC, user_id LIMIT CAST(:first AS bigint);
