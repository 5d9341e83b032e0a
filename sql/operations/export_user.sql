-- The export of a learner's record. progress/operations/export_user.py runs the blocks; the query API runs "check".
-- COPY takes no parameters, so its queries read the learner's id from the setting export.learner.

-- check --
-- Whether the learner exists, the number of their events, and the mean size of the newest events as JSON, in bytes.
SELECT
    NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = :learner)
        AND max(e.stream_version) IS NOT NULL AS is_known,
    coalesce(max(e.stream_version), 0) AS events,
    CAST(coalesce(avg(octet_length(CAST(e.event_data AS text)) + octet_length(CAST(e.metadata AS text))), 0) AS bigint)
        AS event_bytes
FROM (
    SELECT * FROM event_store.events e WHERE e.stream_id = 'learner-' || CAST(:learner AS text)
    ORDER BY e.stream_version DESC LIMIT 100) e;

-- rows --
COPY ({rows}) TO STDOUT (FORMAT csv, HEADER);

-- begin --
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- date style --
-- COPY writes dates and times in this style, whatever the server's or the login's default is.
SET LOCAL datestyle = 'ISO, YMD';

-- mark formulas --
-- Store the pattern of the texts that COPY marks with a leading apostrophe. Spreadsheet programs run some texts as
-- formulas: those that begin with one of these characters, in Japanese settings also with a full-width one. A text that
-- already begins with an apostrophe is marked too, so that removing one leading apostrophe restores every text. Parquet
-- has typed texts, so its rows have no marks: the second pattern matches no text.
SELECT set_config(
    'export.marked', CASE WHEN CAST(:marks AS boolean)
        THEN '^[-=+@＝＋－＠''' || {operations/export_user spaces} || ']'
        ELSE '^$a' END, true);

-- spaces --
-- The white space of Unicode, for a class of a pattern: in the collation "C", which ids have, \s is that of ASCII.
'\s\u001c-\u001f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000'

-- marked_item --
regexp_replace(s.item_id, current_setting('export.marked'), '''\&') AS item_id

-- marked_items --
-- The catalogue's items i, with marked headwords.
(
        SELECT item_id, regexp_replace(headword, current_setting('export.marked'), '''\&') AS headword, level, domains,
            language, regexp_replace(kind, current_setting('export.marked'), '''\&') AS kind
        FROM items
    ) AS i

-- marked_words --
-- The learners' own words o, with marks.
(
        SELECT user_id, item_id, regexp_replace(headword, current_setting('export.marked'), '''\&') AS headword,
            regexp_replace(kind, current_setting('export.marked'), '''\&') AS kind
        FROM own_words
        WHERE headword <> ''
    ) AS o

-- snapshot --
-- The time of the snapshot, the position of the last event that the snapshot includes, and the number of the learner's
-- events. The number is null if the learner is deleted.
WITH learner AS (SELECT set_config('export.learner', :learner, true) AS id)
SELECT transaction_timestamp(), c.position,
    set_config('export.position', CAST(c.position AS text), true) IS NOT NULL AS is_set,
    CASE WHEN NOT EXISTS (SELECT FROM deleted_learners d WHERE d.user_id = l.id)
         THEN (SELECT coalesce(max(e.stream_version), 0)
               FROM event_store.events e WHERE e.stream_id = 'learner-' || l.id) END
FROM learner l JOIN checkpoints c ON c.shard = event_store.shard_of('learner-' || l.id);

-- read models --
-- The id of one table of the read models. A different id shows that a rebuild has swapped the read models. A snapshot
-- from before the swap would see the new tables as empty.
SELECT CAST(to_regclass('user_progress') AS oid);

-- events --
-- The events as JSON, oldest first. The CSV format does not change the lines, because its quote and delimiter are
-- control characters, which JSON text does not contain.
COPY (
    SELECT json_build_object(
        'event_id', e.event_id,
        'event_type', e.event_type,
        'occurred_at', to_char(e.occurred_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'data', e.event_data,
        'metadata', e.metadata)
    FROM event_store.events e
    WHERE e.stream_id = 'learner-' || current_setting('export.learner')
      AND e.global_position <= CAST(current_setting('export.position') AS bigint)
    ORDER BY e.stream_version
) TO STDOUT (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02');

-- shares --
-- The relations of a batch run whose only learner is the exported one. They hide the tables of the same names.
-- `totals` has the number of the catalogue's items for each domain and level.
batch_learners AS (
    SELECT current_setting('export.learner') AS user_id
), described AS (
    {read_models/catalogue_shares described}
), catalogue_shares AS (
    {read_models/catalogue_shares studied}
), catalogue_counts AS (
    {read_models/catalogue_counts definition}
), learner AS (
    SELECT user_id FROM batch_learners
), totals AS (
    {read_models/catalogue_counts totals}
)
