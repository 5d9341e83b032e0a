-- The read models of a group whose members have met some items of the catalogue, most of them with a right answer, and
-- of a list that is assigned to it. The rows are inserted in the order of the days, so that the items of one member are
-- in different blocks.

-- members --
INSERT INTO group_members
SELECT :group, md5(CAST(n AS text)), now(), gen_random_uuid(), TRUE FROM generate_series(1, CAST(:members AS int)) AS n;

-- progress --
INSERT INTO user_progress
SELECT user_id, CAST(:met AS int), 0, 50, 90000, 2000, 1500, CAST(:met AS int), 0, 0, now(), 1 FROM group_members;

-- items --
INSERT INTO items
SELECT 'item-' || n, 'word ' || n, 'A1', '{R}', now(), gen_random_uuid(), now(), gen_random_uuid(), TRUE
FROM generate_series(1, CAST(:items AS int)) AS n;

-- met --
INSERT INTO item_stats (
    user_id, item_id, answers, correct_answers, response_ms, timed_answers, first_answered_at, first_answered_on,
    last_answered_at, first_correct_on, lapses, stability, difficulty, last_answered_on, last_correct
)
SELECT user_id, 'item-' || 1 + (n * 7 + (hashtext(user_id) & 1023)) % CAST(:items AS int), 2, 1, 4000, 2, now(),
    current_date - n % 60, now(), CASE WHEN n % 10 > 0 THEN current_date - n % 60 END, 0, 23000000, 50000000,
    current_date - n % 30, TRUE
FROM generate_series(1, CAST(:met AS int)) AS n
CROSS JOIN group_members
ORDER BY n;

-- list --
INSERT INTO lists (list_id, is_archived, name) VALUES ('l', FALSE, 'List');

-- listed --
INSERT INTO listed_items
SELECT 'l', item_id, now(), gen_random_uuid(), TRUE, NULL FROM items ORDER BY item_id LIMIT :listed;

-- assignment --
INSERT INTO list_assignments VALUES (:group, 'l', now(), gen_random_uuid(), TRUE, current_date - 7);

-- settle --
VACUUM (ANALYZE);
