-- The answers, reviews and completed sessions of each learner who is not deleted, with the local day. Only answers that
-- count as tests of retention (docs/analysis.md) have a `maturity`; in all other rows it is null.
WITH preferences AS (
    SELECT
        user_id,
        occurred_at,
        event_id,
        JSON_VALUE(event_data, '$.timezone') AS timezone,
        SAFE_CAST(JSON_VALUE(event_data, '$.day_start_hour') AS INT64) AS day_start_hour
    FROM ${accepted_events}
    WHERE event_type IN ('UserCreated', 'UserPreferencesChanged')
),

-- A learner's first preferences also apply to earlier events.
zones AS (
    SELECT
        user_id,
        IF(ROW_NUMBER() OVER earlier = 1, TIMESTAMP '0001-01-01', occurred_at) AS starts_at,
        COALESCE(LEAD(occurred_at) OVER earlier, TIMESTAMP '9999-12-31') AS ends_at,
        COALESCE(LAST_VALUE(timezone IGNORE NULLS) OVER until_now, 'UTC') AS timezone,
        COALESCE(LAST_VALUE(day_start_hour IGNORE NULLS) OVER until_now, 0) AS day_start_hour
    FROM preferences
    WINDOW
        earlier AS (PARTITION BY user_id ORDER BY occurred_at, event_id),
        until_now AS (earlier ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
),

dated AS (
    SELECT
        e.user_id,
        e.event_id,
        e.event_type,
        e.occurred_at,
        e.item_id,
        e.session_id,
        e.event_type = 'CorrectAnswerGiven' AS correct,
        IF(
            e.event_type = 'ReviewProcessed', SAFE_CAST(JSON_VALUE(e.event_data, '$.new_interval') AS INT64), NULL
        ) AS interval_days,
        DATE(DATETIME_SUB(
            COALESCE(SAFE.DATETIME(e.occurred_at, z.timezone), DATETIME(e.occurred_at)),
            INTERVAL COALESCE(z.day_start_hour, 0) HOUR
        )) AS day
    FROM ${accepted_events} AS e
    LEFT JOIN zones AS z
        ON z.user_id = e.user_id AND z.starts_at <= e.occurred_at AND e.occurred_at < z.ends_at
    WHERE e.event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven', 'ReviewProcessed', 'SessionCompleted')
        AND e.user_id NOT IN (
            SELECT d.user_id FROM ${accepted_events} AS d
            WHERE d.event_type = 'UserDeleted' AND d.user_id IS NOT NULL
        )
),

-- Events of an item are ordered by time; if times are equal, an answer comes before a review. The first answer after a
-- review is therefore the answer whose preceding event is that review.
ordered AS (
    SELECT
        *,
        LAG(interval_days) OVER earlier AS interval_before,
        LAG(day) OVER earlier AS day_before
    FROM dated
    WINDOW earlier AS (
        PARTITION BY user_id, item_id, event_type = 'SessionCompleted'
        ORDER BY occurred_at, event_type = 'ReviewProcessed', event_id
    )
)

SELECT
    * EXCEPT (interval_before, day_before),
    CASE
        WHEN event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven') AND interval_before >= 1 AND day_before < day
            THEN IF(interval_before >= 21, 'MATURE', 'YOUNG')
    END AS maturity
FROM ordered
