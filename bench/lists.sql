-- The lists of a learner's own, as many of the catalogue, and one list of the catalogue with all items. Each item is in
-- :listed of the other lists, at random.

-- own lists --
INSERT INTO own_lists (user_id, list_id, is_archived, name, rank)
SELECT CAST(:user_id AS text), 'l' || n, FALSE, 'List ' || n, n FROM generate_series(1, CAST(:lists AS int)) AS n;

-- lists --
INSERT INTO lists (list_id, is_archived, name, scale, rank)
SELECT 'l' || n, FALSE, 'List ' || n, 'S', n FROM generate_series(1, CAST(:lists AS int)) AS n
UNION ALL
SELECT 'all', FALSE, 'All', 'A', 1;

-- own items --
INSERT INTO own_listed_items
SELECT user_id, 'l' || 1 + row_number() OVER (ORDER BY md5(item_id || n)) % CAST(:lists AS int) AS list_id, item_id,
    now(), gen_random_uuid(), TRUE, row_number() OVER (ORDER BY item_id) % 500
FROM item_stats
CROSS JOIN generate_series(1, CAST(:listed AS int)) AS n
WHERE user_id = :user_id
ON CONFLICT DO NOTHING;

-- items --
INSERT INTO listed_items
SELECT list_id, item_id, decided_at, decided_id, is_listed, position FROM own_listed_items
UNION ALL
SELECT 'all', item_id, now(), gen_random_uuid(), TRUE, row_number() OVER (ORDER BY md5(item_id))
FROM item_stats
WHERE user_id = :user_id;

-- settle --
VACUUM ANALYZE;
