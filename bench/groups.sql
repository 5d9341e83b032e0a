-- The read models of the group g and of other groups. The members of g study on two of every three days. The learners
-- live in twenty time zones.
-- The learners' ids are random, so that the index entries of a group's members are in different blocks. The rows are
-- inserted day by day, as folds write them, so that the days of one member are in different blocks. The days are local,
-- as in folds. A row is slower to read if its day is after the member's local date. Only a wrong clock or a change of
-- the time zone causes such a row, so few members have one.

-- learners --
-- Learners 1 to `members` belong to the group g.
CREATE TEMPORARY TABLE learners AS
SELECT n, md5(CAST(n AS text)) AS user_id, 'g' || nullif((n - 1) / CAST(:members AS int), 0) AS other_group
FROM generate_series(1, CAST(:members AS int) + CAST(:others AS int)) AS n;

-- members --
INSERT INTO group_members
SELECT coalesce(other_group, 'g'), user_id, now(), gen_random_uuid(), TRUE FROM learners ORDER BY n;

-- zones --
INSERT INTO zones_in_force
SELECT user_id, '-infinity', 'infinity', z.zone, make_interval(hours => n % 5)
FROM learners
JOIN (
    SELECT zone, row_number() OVER (ORDER BY zone) - 1 AS place FROM (SELECT DISTINCT zone FROM zone_rules) AS zones
) AS z ON z.place = 20 * (n % 20)
ORDER BY n;

-- today --
-- For one learner in a hundred, the newest day is tomorrow.
CREATE TEMPORARY TABLE local_days AS
SELECT l.n, z.user_id, z.timezone, l.other_group IS NULL AS is_member,
    CAST(now() + r.utc_offset - z.day_start AS date) + CASE WHEN l.n % 100 = 1 THEN 1 ELSE 0 END AS newest
FROM learners l
JOIN zones_in_force z ON z.user_id = l.user_id
JOIN zone_rules r ON r.zone = z.timezone AND r.starts_at <= now() AND r.ends_at > now();

-- progress --
INSERT INTO user_progress
SELECT user_id, n % 900, 100, 60, 9000, 1200, 900, 100, 100, 100, now(), 1
FROM learners
ORDER BY n;

-- days --
INSERT INTO daily_stats
SELECT user_id, newest - d, 20, (n + d) % 21, 40000, 20, 20, 1, 170, 80, 1, 3, 15, 1
FROM generate_series(CAST(:days AS int), 0, -1) AS d
CROSS JOIN local_days
WHERE is_member AND (n + d) % 3 > 0;

-- weeks --
INSERT INTO member_weeks
SELECT user_id, last_day, last_day, 2, 20, 20, 40, 40, 60, 60, 80, 10, 10, 20, 20, 30, 30, 40, '-infinity', n % 5,
    timezone
FROM (SELECT *, newest - CASE WHEN n % 3 = 0 THEN 1 ELSE 0 END AS last_day FROM local_days) AS newest_days
ORDER BY n;

-- batch weeks --
INSERT INTO weekly_stats
SELECT user_id, day - CAST((day - DATE '1990-01-01') % 7 AS integer), count(*), sum(answers), sum(correct_answers),
    sum(response_ms), sum(timed_answers), sum(reviews), sum(sessions_completed), sum(study_seconds), sum(scores),
    sum(scored_sessions), sum(items_learned), 10, sum(new_mastery_count)
FROM daily_stats
GROUP BY 1, 2
ORDER BY 2, md5(user_id);

-- streaks --
INSERT INTO learning_streaks
SELECT user_id, newest - d - 1, newest - d, 2
FROM generate_series(CAST(:days AS int), 0, -1) AS d
CROSS JOIN local_days
WHERE is_member AND (n + d) % 3 = 1;

-- items --
INSERT INTO items
SELECT 'item-' || n, 'word ' || n, 'A1', '{R}', now(), gen_random_uuid(), now(), gen_random_uuid(), TRUE
FROM generate_series(1, CAST(:items AS int)) AS n;

-- group items --
INSERT INTO group_items
SELECT 'g', 'item-' || n, shard, 40, 160, 60 + (n * 31 + shard) % 100, 320000, 160, n % 9
FROM generate_series(0, 15) AS shard
CROSS JOIN generate_series(1, CAST(:items AS int)) AS n;

-- difficulty --
INSERT INTO item_difficulty
SELECT item_id, shard, learners, answers, correct_answers, response_ms, timed_answers, lapses FROM group_items;

-- settle --
VACUUM (ANALYZE);
