-- A group with members who have answered 20,000 items each, as folds leave their rows.

-- items --
INSERT INTO items
SELECT 'item-' || n, 'word ' || n, (ARRAY['A1', 'A2', 'B1', 'B2', 'C1', 'C2'])[n % 6 + 1], '{R}', now(),
    gen_random_uuid(), now(), gen_random_uuid(), n % 50 > 0, 'en'
FROM generate_series(1, CAST(:items AS int)) AS n;

-- members --
INSERT INTO group_members
SELECT 'g', 'user-' || n, now(), gen_random_uuid(), TRUE FROM generate_series(1, CAST(:members AS int)) AS n;

-- answers --
INSERT INTO item_stats (
    user_id, item_id, answers, correct_answers, response_ms, timed_answers, lapses, stability, difficulty,
    last_answered_on, last_correct)
SELECT 'user-' || m, 'item-' || n, 9, 6, 9000, 9, 0, (n * 7919 + m) % 80000000 - 10000000,
    10000000 + (n * 104729) % 90000000, current_date - (n + m) % 400, n % 5 > 0
FROM generate_series(1, CAST(:members AS int)) AS m
CROSS JOIN generate_series(1, CAST(:items AS int)) AS n;

-- settle --
VACUUM (ANALYZE);
