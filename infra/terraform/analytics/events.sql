-- Each event once, however often it was delivered or published. The row comes from the first message with the event. An
-- event without an id has that of its message and its index. In the log, its id is another, given by its subscription.
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
        event,
        index,
        COALESCE(JSON_TYPE(event.specversion), 'null') != 'null' AS is_cloud_event,
        JSON_TYPE(event.type) = 'string' AND COALESCE(JSON_TYPE(event.event_type), 'null') = 'null'
            AND COALESCE(JSON_TYPE(event.data), 'null') = 'null'
            AND COALESCE(JSON_TYPE(event.event_data), 'null') = 'null' AS is_flat
    FROM messages
    CROSS JOIN UNNEST(
        IF(JSON_TYPE(body) = 'array', JSON_QUERY_ARRAY(body), [body])
    ) AS event WITH OFFSET AS index
    WHERE JSON_TYPE(event) = 'object'
),

formed AS (
    SELECT
        events.*,
        CASE
            WHEN is_cloud_event OR COALESCE(JSON_TYPE(event.data), 'null') != 'null' THEN event.data
            WHEN is_flat THEN JSON_REMOVE(
                event, '$.type', '$.event_id', '$.event_type', '$.occurred_at', '$.data', '$.event_data', '$.metadata'
            )
            ELSE event.event_data
        END AS data
    FROM events
),

named AS (
    SELECT
        COALESCE(
            JSON_VALUE(IF(is_cloud_event, event.id, event.event_id)),
            IF(JSON_TYPE(body) = 'object', JSON_VALUE(attributes, '$.event_id'), NULL),
            FORMAT('pubsub:%s:%d', message_id, index)
        ) AS event_id,
        COALESCE(
            JSON_VALUE(IF(is_cloud_event, event.type, event.event_type)),
            JSON_VALUE(data, '$.type'),
            IF(is_flat, JSON_VALUE(event.type), NULL),
            JSON_VALUE(attributes, '$.event_type')
        ) AS event_type,
        SAFE.TIMESTAMP(COALESCE(
            JSON_VALUE(IF(is_cloud_event, event.time, event.occurred_at)),
            IF(is_cloud_event, NULL, JSON_VALUE(event, '$.metadata.timestamp')),
            JSON_VALUE(attributes, '$.occurred_at')
        )) AS occurred_at,
        data,
        publish_time,
        message_id,
        subscription_name
    FROM formed
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
