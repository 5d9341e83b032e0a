-- Each accepted event of the archive once; e-mail addresses were masked before the event was recorded. BigQuery reads
-- all files in the folder, although only the files that the manifests name belong to the archive. While ranges are
-- merged or a file is rewritten, the old and the new files hold the same rows, so this view keeps one row for each
-- position. If a file is over a day old and no manifest names it, the next `progress archive` or operation ARCHIVE
-- removes it.
SELECT
    global_position,
    event_id,
    event_type,
    IF(STARTS_WITH(stream_id, 'learner-'), SUBSTR(stream_id, 9), NULL) AS user_id,
    occurred_at,
    created_at,
    JSON_VALUE(event_data, '$.item_id') AS item_id,
    JSON_VALUE(event_data, '$.session_id') AS session_id,
    event_data
FROM ${archive}
WHERE event_type != 'Erased'
QUALIFY ROW_NUMBER() OVER (PARTITION BY global_position ORDER BY created_at) = 1
