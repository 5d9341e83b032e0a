-- Each accepted event of the archive once. E-mail addresses were masked before the event was recorded, and display
-- names are left out here. BigQuery reads all files in the folder, although only the files that the manifests name
-- belong to the archive. While ranges are merged or a file is rewritten, the old and the new files hold the same rows,
-- so this view keeps one row for each position. If a file is over a day old and no manifest names it, the next
-- `progress archive` or operation ARCHIVE removes it.
SELECT
    global_position,
    event_id,
    event_type,
    IF(STARTS_WITH(stream_id, 'learner-'), SUBSTR(stream_id, 9), NULL) AS user_id,
    occurred_at,
    created_at,
    JSON_VALUE(event_data, '$.item_id') AS item_id,
    JSON_VALUE(event_data, '$.session_id') AS session_id,
    IF(
        event_type IN ('UserCreated', 'UserPreferencesChanged'),
        TO_JSON_STRING(JSON_REMOVE(PARSE_JSON(event_data, wide_number_mode => 'round'), '$.display_name')),
        event_data
    ) AS event_data
FROM `${table}`
WHERE event_type != 'Erased'
QUALIFY ROW_NUMBER() OVER (PARTITION BY global_position ORDER BY created_at) = 1
