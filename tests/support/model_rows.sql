-- Statements that tests run. A statement with the name of a read model selects the model's rows; the columns have the
-- names that the specification uses.

-- daily_stats --
SELECT user_id, day, answers, correct_answers, sessions_completed, study_seconds,
    items_learned, items_reviewed, reviews, new_mastery_count,
    response_ms::float8 / nullif(timed_answers, 0) AS average_response_ms,
    scores::float8 / nullif(scored_sessions, 0) AS average_score
FROM daily_stats;

-- hourly_stats --
SELECT user_id, hour, answers, correct_answers,
    response_ms::float8 / nullif(timed_answers, 0) AS average_response_ms
FROM hourly_stats;

-- retention_stats --
SELECT user_id, day || ' ' || maturity AS cell, asked, recalled, recalled::float8 / nullif(asked, 0) AS rate
FROM retention_stats;

-- weekly_stats --
SELECT user_id, monday, active_days, answers, correct_answers, sessions_completed, study_seconds,
    items_learned, items_reviewed, reviews, new_mastery_count,
    response_ms::float8 / nullif(timed_answers, 0) AS average_response_ms,
    scores::float8 / nullif(scored_sessions, 0) AS average_score
FROM weekly_stats;

-- learner_sessions --
SELECT user_id, session_id, started_at, ended_at, completed_at, score, duration_seconds, item_count,
    answers, correct_answers, items, items_new, items_missed,
    response_ms::float8 / nullif(timed_answers, 0) AS average_response_ms
FROM learner_sessions;

-- calibration_days --
SELECT user_id, day || ' ' || bin AS day_and_bin, tests, correct, predicted, loss FROM calibration_days;

-- item_stats --
SELECT user_id, item_id, answers, correct_answers,
    response_ms::float8 / nullif(timed_answers, 0) AS average_response_ms,
    first_answered_at, last_answered_at, first_correct_at,
    interval_days, easiness_factor, reviewed_at, lapses,
    coalesce(sent_due_at, reviewed_at + least(interval_days, 36500) * interval '24 hours') AS due_at
FROM item_stats;

-- set_aside_items --
SELECT user_id, item_id, decided_at, is_set_aside FROM set_aside_items;

-- lists --
SELECT list_id, '' AS one, decided_at, decided_id, is_archived, described_at, described_id, name, scale, rank
FROM lists;

-- list_assignments --
SELECT group_id, list_id, decided_at, decided_id, is_assigned, due_on::text FROM list_assignments;

-- own_listed_items --
SELECT user_id, list_id || ' ' || item_id AS place, decided_at, decided_id, is_listed, position FROM own_listed_items;

-- memory --
SELECT user_id, item_id, stability, difficulty, last_answered_on AS answered_on, last_correct
FROM item_stats
WHERE num_nonnulls(stability, difficulty, last_answered_on, last_correct) > 0;

-- next states --
SELECT next_memory(ARRAY[c.stability, c.difficulty], c.grade, c.gap)
FROM unnest(
    CAST(:stabilities AS bigint[]), CAST(:difficulties AS bigint[]), CAST(:grades AS int[]), CAST(:gaps AS int[])
) WITH ORDINALITY AS c (stability, difficulty, grade, gap, place)
ORDER BY c.place;

-- item_days --
SELECT user_id, item_id || ' ' || day AS item_and_day, answers, correct_answers FROM item_days;

-- item_difficulty --
SELECT item_id, '' AS one, sum(learners)::int AS learners, sum(answers)::int AS answers,
    sum(correct_answers)::int AS correct_answers, sum(lapses)::int AS lapses,
    sum(response_ms)::float8 / nullif(sum(timed_answers), 0)::float8 AS average_response_ms
FROM item_difficulty
GROUP BY item_id;

-- group_items --
SELECT group_id, item_id, sum(learners)::int AS learners, sum(answers)::int AS answers,
    sum(correct_answers)::int AS correct_answers, sum(lapses)::int AS lapses,
    sum(response_ms)::float8 / nullif(sum(timed_answers), 0)::float8 AS average_response_ms
FROM group_items
GROUP BY group_id, item_id;

-- group_members --
SELECT group_id, user_id, is_member FROM group_members;

-- group_names --
SELECT group_id, user_id, group_name, named_at, named_id FROM group_names;

-- member_weeks --
SELECT user_id, '' AS one, last_day, last_study_date, run_days, answers_1, answers_2, answers_3, answers_4, answers_5,
    answers_6, answers_7, correct_1, correct_2, correct_3, correct_4, correct_5, correct_6, correct_7,
    day_start_hour, timezone
FROM member_weeks;

-- goals --
SELECT user_id, event_id, occurred_at, answers_per_day, day FROM goals;

-- milestones --
SELECT user_id, kind || ' ' || CASE kind WHEN 'GOAL_MET' THEN reached_on::text ELSE coalesce(level, value::text) END,
    value, level, reached_on
FROM milestones;

-- user_progress --
SELECT user_id, '' AS one, items_learned AS total_items_learned, items_mastered,
    sessions_completed AS total_sessions_completed, study_seconds / 60 AS total_study_time_minutes,
    learning, short_term AS short_term_mastered, long_term AS long_term_mastered, last_updated
FROM user_progress;

-- catalogue_shares --
SELECT user_id, concat_ws(' ', kind, name, language) AS place, items_studied, answers, correct_answers, learning,
    short_term AS short_term_mastered, long_term AS long_term_mastered, mastered_in_catalogue
FROM catalogue_shares;

-- mastery_days --
SELECT user_id, concat_ws(' ', level, language, day) AS place, items FROM mastery_days;

-- items --
SELECT item_id, headword, coalesce(level, 'UNKNOWN') AS level,
    CASE WHEN domains = '{}' THEN '{UNKNOWN}' ELSE domains END AS domains, in_catalogue,
    language, kind
FROM items WHERE described_at IS NOT NULL;

-- catalogue_sizes --
SELECT kind, concat_ws(' ', name, language, item_kind) AS place, CAST(sum(size) AS bigint) AS size
FROM catalogue_sizes GROUP BY 1, 2 HAVING sum(size) <> 0;

-- catalogue_counts --
SELECT kind, concat_ws(' ', name, language, item_kind) AS place, items FROM catalogue_counts;

-- table --
SELECT * FROM {table};

-- one row --
SELECT user_id, '' AS one, t.* FROM {table} t;

-- empty --
DELETE FROM {table};

-- lose a row --
DELETE FROM {table} WHERE ctid = (SELECT min(ctid) FROM {table});

-- learner tables --
SELECT c.relname AS table_name
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'user_id'
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r' AND c.relname <> 'window_shape'
ORDER BY c.relname;

-- view columns --
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'progress'::regnamespace
ORDER BY c.relname, a.attnum;

-- failures --
SELECT error FROM event_store.poison_marks;

-- events --
-- The stored events, except the poisoned ones.
SELECT event_id, event_type AS type, event_data AS data, occurred_at, created_at,
    CASE WHEN starts_with(stream_id, 'learner-') THEN substr(stream_id, 9) END AS user_id,
    coalesce(event_data ->> 'user_id', metadata ->> 'user_id') IS NOT NULL AS names_learner
FROM event_store.events
WHERE global_position NOT IN (SELECT global_position FROM poisoned_events)
ORDER BY global_position;

-- pending --
SELECT count(*) FROM event_store.pending;

-- tables --
SELECT tablename, schemaname = current_schema() AS is_model,
    format('CREATE TEMPORARY TABLE saved_%2$s AS TABLE %1$I.%2$I', schemaname, tablename) AS save,
    format('DELETE FROM %I.%I;', schemaname, tablename) AS emptied,
    format('INSERT INTO %1$I.%2$I TABLE saved_%2$s;', schemaname, tablename) AS restored
FROM pg_tables
WHERE schemaname = 'event_store' OR schemaname = current_schema();

-- terminate --
SELECT pg_terminate_backend(:pid);

-- waits --
SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = :pid;

-- one waits --
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock');

-- one waits to migrate --
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND query ~ 'pg_advisory_lock.*progress.migrations');

-- an index is built --
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
    AND query ~ 'INDEX CONCURRENTLY' AND wait_event = 'virtualxid');

-- make the index invalid --
UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = CAST('event_store.list_events' AS regclass);

-- the index is valid --
SELECT indisvalid FROM pg_index WHERE indexrelid = CAST('event_store.list_events' AS regclass);

-- waits for its turn --
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = :application
    AND (wait_event_type, wait_event) = ('Lock', 'advisory'));

-- lives --
SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = :pid;

-- pid --
SELECT pg_backend_pid();

-- shard --
SELECT event_store.shard_of('learner-' || CAST(:user AS text));

-- poison --
-- Damage a stored event, so that folds fail. No valid event makes them fail.
UPDATE event_store.events SET event_data = event_data || '{"response_time_ms": "soon"}'
WHERE global_position = (
    SELECT min(global_position) FROM event_store.events
    WHERE stream_id = 'learner-' || CAST(:user AS text) AND event_type = 'CorrectAnswerGiven')
RETURNING global_position;

-- slow daily stats --
-- Let each fold of daily_stats take 300 ms.
DO $$
BEGIN
    CREATE FUNCTION take_long() RETURNS trigger LANGUAGE plpgsql AS $f$
    BEGIN
        PERFORM pg_sleep(0.3);
        RETURN NULL;
    END
    $f$;
    CREATE TRIGGER take_long AFTER INSERT ON daily_stats FOR EACH STATEMENT EXECUTE FUNCTION take_long();
END $$;

-- mend --
UPDATE event_store.events SET event_data = event_data || '{"response_time_ms": 500}'
WHERE event_data ->> 'response_time_ms' = 'soon'
RETURNING global_position;

-- poisoned --
SELECT global_position FROM poisoned_events;

-- head --
SELECT coalesce(max(global_position), 0) FROM event_store.events;

-- answered --
SELECT sum(answers) FROM user_progress;

-- schemas --
SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'progress_%';

-- end sessions --
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = :application;

-- version --
SELECT version FROM learner_versions WHERE user_id = :user;

-- same version --
UPDATE user_progress SET version = (SELECT version FROM user_progress WHERE user_id = :other)
WHERE user_id = :user
RETURNING version;

-- hold the learner --
SELECT pg_advisory_xact_lock(hashtext(current_schema()), event_store.shard_of('learner-' || CAST(:user AS text)));

-- unfolded up to --
SELECT count(*)
FROM event_store.events e
JOIN checkpoints c USING (shard)
WHERE e.global_position <= :position AND e.global_position > c.position;

-- refolds --
-- The number of refolds: each refold calls refold_learners once.
SELECT calls FROM pg_stat_user_functions WHERE funcname = 'refold_learners';

-- move --
-- Insert a preference event that moves the start of local days. It becomes version :version of the learner's stream.
INSERT INTO event_store.events
SELECT max(e.global_position) + 1, gen_random_uuid(), 'learner-' || CAST(:user AS text), CAST(:version AS bigint),
    'UserPreferencesChanged',
    jsonb_build_object(
        'user_id', CAST(:user AS text), 'timezone', 'Pacific/Kiritimati',
        'day_start_hour', CAST(:version AS bigint) % 24),
    '{}', :at, max(e.created_at), event_store.shard_of('learner-' || CAST(:user AS text))
FROM event_store.events e;

-- reads from end to end --
SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = 'event_store' AND relname = 'events';

-- repeat --
-- Insert copies of the last event for many learners.
INSERT INTO event_store.events
SELECT h.global_position + n, gen_random_uuid(), 'learner-of-' || n % 100, n / 100 + 1, h.event_type,
    h.event_data, '{}', h.occurred_at, h.created_at, event_store.shard_of('learner-of-' || n % 100)
FROM (SELECT * FROM event_store.events e ORDER BY e.global_position DESC LIMIT 1) h
CROSS JOIN generate_series(1, CAST(:events AS int)) n;

-- function sources --
SELECT p.proname, p.prosrc
FROM pg_proc p
WHERE p.pronamespace = CAST(current_schema() AS regnamespace) AND p.prokind <> 'a';

-- tables of the log --
SELECT tablename FROM pg_tables
WHERE schemaname = 'event_store' AND tablename NOT LIKE 'erasure%'
ORDER BY tablename;

-- make fail --
CREATE OR REPLACE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'planted in %', TG_TABLE_NAME;
END $$;
