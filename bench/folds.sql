-- The tables and statements of a bare aggregation, and the inputs and outputs of definitions in DuckDB.

-- tables --
DROP TABLE IF EXISTS public.daily_counters, public.item_counters;
CREATE TABLE public.daily_counters (
    user_id text COLLATE "C", day date, answers bigint, correct bigint, response_ms bigint, reviews bigint,
    sessions bigint, study_seconds bigint
);
CREATE TABLE public.item_counters (
    user_id text COLLATE "C", item_id text COLLATE "C", answers bigint, correct bigint, response_ms bigint,
    reviews bigint
);

-- daily --
INSERT INTO public.daily_counters
SELECT substr(stream_id, 9), CAST(occurred_at AS date),
    count(*) FILTER (WHERE event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven')),
    count(*) FILTER (WHERE event_type = 'CorrectAnswerGiven'),
    sum(CAST(event_data ->> 'response_time_ms' AS bigint)),
    count(*) FILTER (WHERE event_type = 'ReviewProcessed'),
    count(*) FILTER (WHERE event_type = 'SessionCompleted'),
    sum(CAST(event_data ->> 'duration_seconds' AS bigint))
FROM event_store.events
WHERE event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven', 'ReviewProcessed', 'SessionCompleted')
GROUP BY 1, 2;

-- items --
INSERT INTO public.item_counters
SELECT substr(stream_id, 9), event_data ->> 'item_id',
    count(*) FILTER (WHERE event_type <> 'ReviewProcessed'),
    count(*) FILTER (WHERE event_type = 'CorrectAnswerGiven'),
    sum(CAST(event_data ->> 'response_time_ms' AS bigint)),
    count(*) FILTER (WHERE event_type = 'ReviewProcessed')
FROM event_store.events
WHERE event_type IN ('CorrectAnswerGiven', 'IncorrectAnswerGiven', 'ReviewProcessed')
GROUP BY 1, 2;

-- log --
CREATE TEMPORARY VIEW log AS SELECT * FROM read_parquet('{file}', hive_partitioning = false);
CREATE TEMPORARY TABLE quarantined (global_position BIGINT);

-- write --
COPY {table} TO $csv (FORMAT csv, HEADER true);
