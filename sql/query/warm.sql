-- Whose answers `progress warm` keeps.

-- learners --
-- Those who did something last.
SELECT user_id FROM user_progress ORDER BY last_updated DESC, user_id LIMIT CAST(:first AS bigint);
