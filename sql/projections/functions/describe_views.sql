-- Comment on each column of the views of the schema progress: what it holds, and in which unit. A column has the
-- comment of its column in the schema `source`; without one, the text for all columns of its name.
DROP FUNCTION IF EXISTS progress.describe_views();
CREATE OR REPLACE FUNCTION progress.describe_views(source text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $describe$
DECLARE
    described record;
BEGIN
    FOR described IN
        WITH texts (attname, meaning) AS (VALUES
            ('user_id', 'id of the learner'),
            ('item_id', 'id of the item'),
            ('day', 'local day of the learner'),
            ('level', 'CEFR level, A1 to C2, or UNKNOWN'),
            ('domain', 'R, W, L or S (reading, writing, listening, speaking), or UNKNOWN'),
            ('answers', 'number of answers'),
            ('correct_answers', 'number of correct answers'),
            ('accuracy_rate', 'share of correct answers, 0 to 1; null without an answer'),
            ('response_ms', 'sum of the response times of the answers, each at most 60,000, in milliseconds'),
            ('capped_ms', 'the same as response_ms, its former name, in milliseconds'),
            ('timed_answers', 'number of answers with a response time'),
            ('lapses', 'number of tests of retention that were not recalled (retention_stats has the tests)'),
            ('sessions_completed', 'number of completed sessions'),
            ('study_seconds', 'duration of the completed sessions, each at most 14,400, in seconds'),
            ('scores', 'sum of the scores of the completed sessions that have one'),
            ('scored_sessions', 'number of completed sessions with a score'),
            ('items_learned', 'number of items first answered correctly then'),
            ('items_reviewed', 'number of distinct items answered on a day after the day of their first answer'),
            ('reviews', 'number of reviews'),
            ('new_mastery_count', 'number of items that first reached an interval of 7 days then'),
            ('items_studied', 'number of items that the learner has met'),
            ('learning', 'number of items with an interval below 7 days, or without one'),
            ('short_term_mastered', 'number of items with an interval of 7 to 20 days'),
            ('long_term_mastered', 'number of items with an interval of 21 days or more'),
            ('catalogue_items', 'number of items of the catalogue, in the learner''s languages'),
            ('progress_rate', 'share of the catalogue''s items that the learner has mastered, 0 to 1'),
            ('stability_days', 'days until the estimated recall (FSRS-6) is 0.9; null without an answer'),
            ('difficulty_1_to_10', 'difficulty by FSRS-6, 1 (easy) to 10 (hard); null without an answer')
        )
        SELECT c.relname, a.attname, coalesce(col_description(s.attrelid, s.attnum), t.meaning) AS meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        LEFT JOIN pg_attribute s
            ON s.attrelid = to_regclass(format('%I.%I', source, c.relname)) AND s.attname = a.attname
        LEFT JOIN texts t ON t.attname = a.attname
        WHERE c.relnamespace = 'progress'::regnamespace AND c.relkind = 'v'
    LOOP
        EXECUTE format('COMMENT ON COLUMN progress.%I.%I IS %L',
            described.relname, described.attname, described.meaning);
    END LOOP;
END
$describe$;
