-- Each event once, however often it was delivered or published. The row comes from the first message with the event.
WITH messages AS (
    SELECT
        message_id,
        publish_time,
        subscription_name,
        SAFE.PARSE_JSON(data, wide_number_mode => 'round') AS body,
        SAFE.PARSE_JSON(attributes) AS attributes
    FROM `${table}`
),

events AS (
    SELECT
        messages.*,
        event
    FROM messages
    CROSS JOIN UNNEST(
        IF(JSON_TYPE(body) = 'array', JSON_QUERY_ARRAY(body), [body])
    ) AS event
    WHERE JSON_TYPE(event) = 'object'
),

named AS (
    SELECT
        COALESCE(
            JSON_VALUE(event, '$.event_id'),
            IF(JSON_TYPE(body) = 'object', JSON_VALUE(attributes, '$.event_id'), NULL)
        ) AS event_id,
        COALESCE(
            JSON_VALUE(event, '$.event_type'),
            JSON_VALUE(event, '$.data.type'),
            JSON_VALUE(attributes, '$.event_type')
        ) AS event_type,
        SAFE.TIMESTAMP(COALESCE(
            JSON_VALUE(event, '$.occurred_at'),
            JSON_VALUE(event, '$.metadata.timestamp'),
            JSON_VALUE(attributes, '$.occurred_at')
        )) AS occurred_at,
        JSON_QUERY(event, '$.data') AS data,
        publish_time,
        message_id,
        subscription_name
    FROM events
)

SELECT
    event_id,
    event_type,
    COALESCE(occurred_at, publish_time) AS occurred_at,
    data,
    publish_time
FROM named
WHERE event_id IS NOT NULL
-- UUIDs are compared ignoring case; all other ids are case-sensitive.
QUALIFY ROW_NUMBER() OVER (
    PARTITION BY IF(
        REGEXP_CONTAINS(event_id, r'^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$'), LOWER(event_id), event_id
    )
    ORDER BY publish_time, message_id
) = 1
