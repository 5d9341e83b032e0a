-- Views and tables for the analyses across learners. progress/analysis/questions.py runs these blocks in DuckDB, for
-- one group of the archive's buckets after another. From the events of `log`, the folds in
-- sql/projections/definitions.sql compute typed columns and local days.

-- read files --
SET VARIABLE files = CAST($files AS VARCHAR[]);

-- read until --
-- Answers, reviews and sessions that occurred at this time or later are not read. A local day ends less than three days
-- after 00:00 UTC of its date: it lasts 24 hours, its zone is up to 12 hours behind UTC, and the learner's
-- `day_start_hour` delays it by up to 23 hours.
SET VARIABLE until = CAST(CAST($last_day AS DATE) + 3 AS TIMESTAMP) AT TIME ZONE 'UTC';

-- log --
-- The rows of the files. DuckDB skips a row group if its statistics show that no row matches. Events of some types are
-- read even if they occurred at `until` or later: a learner's first preferences also apply to earlier days; deletions
-- and descriptions of items apply to all days. Display names are personal, so analyses do not read them, nor lists,
-- which learners have written, too.
CREATE OR REPLACE TEMPORARY VIEW log AS
SELECT global_position, event_id, stream_id, event_type, metadata, occurred_at, created_at,
    CASE WHEN event_type IN ({preference_types})
        THEN CAST(json_merge_patch(event_data, json_object('display_name', NULL)) AS VARCHAR)
        ELSE event_data END AS event_data
FROM (
    SELECT * FROM read_parquet(getvariable('files'), hive_partitioning = false)
    WHERE occurred_at < getvariable('until') AND event_type NOT IN ({list_types})
    UNION ALL
    SELECT * FROM read_parquet(getvariable('files'), hive_partitioning = false)
    WHERE occurred_at >= getvariable('until')
      AND event_type IN ({preference_types}, {deletion_types}, {catalogue_types})
) AS rows_read;

-- poisoned --
-- This table stays empty, because the archive does not say which events were poisoned.
CREATE TEMPORARY TABLE poisoned_events (global_position BIGINT);

-- tests --
-- The tests of retention. A test is the first answer to an item after a review of the item, if the answer is on a later
-- day than the review, and the review's interval is at least one day. Events are ordered by time; if an answer and a
-- review have the same time, the answer comes first. An answer is the first after a review if no other answer or
-- review of the item lies between them.
CREATE TEMPORARY TABLE tests AS
SELECT user_id, item_id, day, correct AS recalled,
    CASE WHEN interval_before < 21 THEN 'YOUNG' ELSE 'MATURE' END AS maturity
FROM (
    SELECT user_id, item_id, kind, day, correct,
        lag(kind)          OVER earlier AS kind_before,
        lag(interval_days) OVER earlier AS interval_before,
        lag(day)           OVER earlier AS day_before
    FROM dated_facts
    WHERE kind IN ('answer', 'review')
    WINDOW earlier AS (PARTITION BY user_id, item_id ORDER BY occurred_at, kind, event_id)
)
WHERE kind = 'answer' AND kind_before = 'review' AND interval_before >= 1 AND day_before < day;

-- drop --
DROP {kind} {table};
