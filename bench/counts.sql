-- What the guard asks for.

-- explain --
-- Let each later session of the database log the plans of its statements.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET auto_explain.log_min_duration = 0', current_database());
END
$$;

-- fix the key --
-- Let the digests of ids be the same in each run: some work depends on their order.
UPDATE event_store.erasure_key
SET inner_key = decode(repeat('36', 64), 'hex'), outer_key = decode(repeat('5c', 64), 'hex');

-- learners --
-- Names of learners of the first shard.
SELECT 'learner-' || n
FROM generate_series(1, 1000) AS n
WHERE event_store.shard_of('learner-learner-' || n) = 0
LIMIT 45;

-- old items --
INSERT INTO items (item_id, headword, level, domains, described_at, decided_at, decided_id, in_catalogue)
SELECT 'an item of the former word list ' || n, 'word', 'A1', '{}', '2020-01-01', '2020-01-01', gen_random_uuid(),
    n > 100000
FROM generate_series(1, 200000) AS n;

-- old sizes --
INSERT INTO catalogue_sizes VALUES ('pair', '', 'und', '', 0, 100000), ('level', 'A1', 'und', '', 0, 100000),
    ('scale', 'Scale', '', '', 0, 33000);

-- old lists --
INSERT INTO lists (list_id, is_archived, name, scale)
SELECT 'list ' || n, FALSE, 'List', 'Scale' FROM generate_series(1, 33000) AS n;

-- old members --
INSERT INTO group_members SELECT 'old group', 'member ' || n, '2020-01-01', gen_random_uuid(), TRUE
FROM generate_series(1, 10000) AS n;

-- old choices --
INSERT INTO set_aside_items SELECT 'member 1', 'own ' || n, '2020-01-01', gen_random_uuid(), TRUE
FROM generate_series(1, 20000) AS n;

-- old words --
INSERT INTO own_words SELECT 'member 1', 'own ' || n, '2020-01-01', gen_random_uuid(), 'word'
FROM generate_series(1, 20000) AS n;

-- settle --
VACUUM (ANALYZE);

-- indexes --
SELECT count(*) FROM pg_index WHERE indrelid = CAST('event_store.' || CAST(:name AS text) AS regclass);
