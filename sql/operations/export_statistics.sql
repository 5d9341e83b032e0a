-- The export of a read model's rows. progress/operations/export_statistics.py runs the blocks; the query API runs the
-- estimates. COPY takes no parameters, so its queries read the request from the settings that the block "request"
-- stores.

-- request --
-- Store the request in settings of the transaction. If all learners are requested, `learners` is an empty array.
SELECT transaction_timestamp(),
    set_config('export.learners', CAST(coalesce(CAST(:learners AS text[]), '{}') AS text), true),
    set_config('export.first_day', coalesce(CAST(:first_day AS text), '-infinity'), true),
    set_config('export.last_day', coalesce(CAST(:last_day AS text), 'infinity'), true);

-- learner --
regexp_replace(user_id, current_setting('export.marked'), '''\&') AS user_id

-- days --
s.day BETWEEN CAST(current_setting('export.first_day') AS date) AND CAST(current_setting('export.last_day') AS date)

-- mondays --
s.monday BETWEEN CAST(current_setting('export.first_day') AS date) AND CAST(current_setting('export.last_day') AS date)

-- everyone --
current_setting('export.learners') = '{}'

-- requested --
-- The rows s of {table} of the requested learners. PostgreSQL reads one branch of the UNION: it checks the condition of
-- the first, which names no columns, once, before it reads rows; if all learners are requested, the second joins none.
(
        SELECT s.* FROM {table} s WHERE {operations/export_statistics everyone}
        UNION ALL
        SELECT s.* FROM unnest(CAST(current_setting('export.learners') AS text[])) AS l (user_id)
        JOIN {table} s USING (user_id)
    ) AS s

-- daily --
COPY (
    SELECT {operations/export_statistics learner}, s.day AS date,
        {read_models/daily_stats stat_fields}
    FROM {operations/export_statistics requested}
    WHERE {operations/export_statistics days}
    ORDER BY s.user_id, s.day
) TO STDOUT (FORMAT csv, HEADER);

-- weekly --
COPY (
    SELECT {operations/export_statistics learner}, s.monday AS start, s.monday + 6 AS "end", s.active_days,
        {read_models/daily_stats stat_fields}
    FROM {operations/export_statistics requested}
    WHERE {operations/export_statistics mondays}
    ORDER BY s.user_id, s.monday
) TO STDOUT (FORMAT csv, HEADER);

-- item --
COPY (
    SELECT {operations/export_statistics learner},
        {operations/export_user marked_item},
        {read_models/item_stats item_fields},
        s.stability,
        s.difficulty,
        CAST(EXISTS (
            SELECT FROM set_aside_items a
            WHERE a.user_id = s.user_id AND a.item_id = s.item_id AND a.is_set_aside
        ) AS text) AS set_aside
    FROM {operations/export_statistics requested}
    LEFT JOIN {operations/export_user marked_items} ON i.item_id = s.item_id
    CROSS JOIN LATERAL (SELECT nullif(i.headword, '') AS headword, i.kind) AS w
    ORDER BY s.user_id, s.item_id
) TO STDOUT (FORMAT csv, HEADER);

-- shares --
(
        SELECT {read_models/catalogue_shares sums}
        FROM {operations/export_statistics requested}
        GROUP BY s.user_id, s.kind, s.name
    ) AS d
    LEFT JOIN LATERAL (
        SELECT CAST(sum(c.items) AS bigint) AS items
        FROM catalogue_counts c
        CROSS JOIN (SELECT d.user_id) AS learner
        WHERE c.kind = d.kind AND c.name = d.name AND {read_models/catalogue_counts in_pairs}
    ) AS c ON TRUE

-- share --
COPY (
    SELECT {operations/export_statistics learner}, name AS {kind},
        {read_models/catalogue_shares share_fields}
    FROM {operations/export_statistics shares}
    WHERE kind = '{kind}'
    ORDER BY d.user_id, name
) TO STDOUT (FORMAT csv, HEADER);

-- listed --
-- The learners in the file of the table :name.
SELECT p.user_id FROM user_progress p
WHERE {operations/export_statistics exported} AND CASE CAST(:name AS text)
    WHEN 'daily' THEN EXISTS (
        SELECT FROM daily_stats s WHERE s.user_id = p.user_id AND {operations/export_statistics days})
    WHEN 'weekly' THEN EXISTS (
        SELECT FROM weekly_stats s WHERE s.user_id = p.user_id AND {operations/export_statistics mondays})
    WHEN 'item' THEN EXISTS (SELECT FROM item_stats s WHERE s.user_id = p.user_id)
    ELSE EXISTS (SELECT FROM catalogue_shares s WHERE s.user_id = p.user_id AND s.kind = :name) END;

-- exported --
({operations/export_statistics everyone} OR p.user_id = ANY (CAST(current_setting('export.learners') AS text[])))

-- asked --
(CAST(:learners AS text[]) IS NULL OR s.user_id = ANY (CAST(:learners AS text[])))

-- estimate daily --
-- The planner estimates the number of rows from its statistics, without reading the rows.
EXPLAIN (FORMAT JSON)
SELECT FROM daily_stats s
WHERE {operations/export_statistics asked}
  AND s.day >= coalesce(CAST(:first_day AS date), '-infinity')
  AND s.day <= coalesce(CAST(:last_day AS date), 'infinity');

-- estimate weekly --
EXPLAIN (FORMAT JSON)
SELECT FROM weekly_stats s
WHERE {operations/export_statistics asked}
  AND s.monday >= coalesce(CAST(:first_day AS date), '-infinity')
  AND s.monday <= coalesce(CAST(:last_day AS date), 'infinity');

-- estimate item --
EXPLAIN (FORMAT JSON) SELECT FROM item_stats s WHERE {operations/export_statistics asked};

-- estimate domain --
EXPLAIN (FORMAT JSON) SELECT FROM catalogue_shares s WHERE {operations/export_statistics asked} AND s.kind = 'domain';

-- estimate level --
EXPLAIN (FORMAT JSON) SELECT FROM catalogue_shares s WHERE {operations/export_statistics asked} AND s.kind = 'level';
