-- Comment on each column of the views of the schema progress: what it holds, and in which unit. A text without a view
-- is for the column of that name in every view that has no text of its own. Columns of another version have no comment.
CREATE OR REPLACE FUNCTION progress.describe_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $describe$
DECLARE
    described record;
BEGIN
    FOR described IN
        WITH texts (view, attname, meaning) AS (VALUES
            (NULL, 'user_id', 'id of the learner'),
            (NULL, 'item_id', 'id of the item'),
            (NULL, 'group_id', 'id of the group'),
            (NULL, 'day', 'local day of the learner'),
            (NULL, 'monday', 'Monday of the local week'),
            (NULL, 'hour', 'local hour of the clock, 0 to 23'),
            (NULL, 'level', 'CEFR level, A1 to C2, or UNKNOWN'),
            (NULL, 'domain', 'R, W, L or S (reading, writing, listening, speaking), or UNKNOWN'),
            (NULL, 'shard', 'shard of the learners: add up the rows of an item'),
            (NULL, 'answers', 'number of answers'),
            (NULL, 'correct_answers', 'number of correct answers'),
            (NULL, 'accuracy_rate', 'share of correct answers, 0 to 1; null without an answer'),
            (NULL, 'response_ms', 'sum of the response times of the answers, in milliseconds'),
            (NULL, 'capped_ms', 'sum of the response times, in milliseconds; an answer counts with at most 60,000'),
            (NULL, 'reviews', 'number of reviews'),
            (NULL, 'lapses', 'number of lapses: the next interval after one of at least a day was shorter than a day'),
            (NULL, 'sessions_completed', 'number of completed sessions'),
            (NULL, 'study_seconds', 'duration of the completed sessions, in seconds'),
            (NULL, 'scores', 'sum of the scores of the completed sessions, each from 0 to 100'),
            (NULL, 'items_learned', 'number of items first answered correctly then'),
            (NULL, 'items_reviewed', 'number of distinct items answered on a day after the day of their first answer'),
            (NULL, 'new_mastery_count', 'number of items that first reached an interval of 7 days then'),
            (NULL, 'active_days', 'number of study days: local days with a completed session'),
            (NULL, 'study_days', 'number of study days: local days with a completed session'),
            (NULL, 'items_studied', 'number of items that the learner has met'),
            (NULL, 'learning', 'number of items with an interval below 7 days, or without one'),
            (NULL, 'short_term', 'number of items with an interval of 7 to 20 days'),
            (NULL, 'long_term', 'number of items with an interval of 21 days or more'),
            (NULL, 'short_term_mastered', 'number of items with an interval of 7 to 20 days'),
            (NULL, 'long_term_mastered', 'number of items with an interval of 21 days or more'),
            (NULL, 'catalogue_items', 'number of items of the catalogue, in the learner''s languages'),
            (NULL, 'progress_rate', 'share of the catalogue''s items that the learner has mastered, 0 to 1'),
            (NULL, 'learners', 'number of learners with an answer'),
            ('goals', 'day', 'local day from which the goal is in force'),
            ('goals', 'occurred_at', 'time at which the learner set the goal'),
            ('goals', 'event_id', 'id of the event that set the goal'),
            ('goals', 'answers_per_day', 'goal, in answers a day; 0 ends the goal'),
            ('group_members', 'decided_at', 'time of the latest event about the membership'),
            ('group_members', 'decided_id', 'id of this event'),
            ('group_members', 'is_member', 'whether the learner is a member now'),
            ('item_difficulty', 'lapses', 'number of lapses, also of learners without an answer'),
            ('item_stats', 'first_answered_at', 'time of the first answer'),
            ('item_stats', 'first_answered_on', 'local day of the first answer'),
            ('item_stats', 'last_answered_at', 'time of the latest answer'),
            ('item_stats', 'last_answered_on', 'local day of the latest answer'),
            ('item_stats', 'last_correct', 'whether the latest answer was correct'),
            ('item_stats', 'first_correct_at', 'time of the first correct answer'),
            ('item_stats', 'first_correct_on', 'local day of the first correct answer'),
            ('item_stats', 'first_mastered_at', 'time of the first review with an interval of 7 days or more'),
            ('item_stats', 'first_mastered_on', 'local day of this review'),
            ('item_stats', 'interval_days', 'interval of the latest review, in days; null: never reviewed'),
            ('item_stats', 'easiness_factor', 'easiness factor of the latest review, as the scheduler sent it'),
            ('item_stats', 'reviewed_at', 'time of the latest review'),
            ('item_stats', 'reviewed_on', 'local day of the latest review'),
            ('item_stats', 'review_id', 'id of the event of the latest review'),
            ('item_stats', 'asked_at', 'time of the first answer after the latest review; without one, of the first'),
            ('item_stats', 'asked_on', 'local day of this answer'),
            ('item_stats', 'asked_id', 'id of the event of this answer'),
            ('item_stats', 'recalled', 'whether this answer was correct'),
            ('item_stats', 'stability', '10,000,000 times the logarithm of stability_days; null without an answer'),
            ('item_stats', 'stability_days', 'days until the estimated recall (FSRS-6) is 0.9; null without an answer'),
            ('item_stats', 'difficulty', '10,000,000 times difficulty_1_to_10; null without an answer'),
            ('item_stats', 'difficulty_1_to_10', 'difficulty by FSRS-6, 1 (easy) to 10 (hard); null without an answer'),
            ('items', 'level', 'CEFR level, A1 to C2; null: none'),
            ('items', 'headword', 'the word; null: not described yet'),
            ('items', 'domains', 'skills R, W, L, S, in this order; may be empty'),
            ('items', 'described_at', 'time of the latest description; null: none'),
            ('items', 'described_id', 'id of the event of this description'),
            ('items', 'decided_at', 'time of the latest event of the catalogue about the item'),
            ('items', 'decided_id', 'id of this event'),
            ('items', 'in_catalogue', 'false if the item is archived'),
            ('items', 'language', 'language of the headword, a BCP 47 tag; null: not known'),
            ('learning_streaks', 'starts', 'first study day, local'),
            ('learning_streaks', 'ends', 'last study day, local'),
            ('milestones', 'kind', 'STREAK, ITEMS_LEARNED, ITEMS_MASTERED, GOAL_MET or LEVEL_REACHED'),
            ('milestones', 'value', 'number of study days, items, or answers of the goal, by kind; null: a level'),
            ('milestones', 'level', 'CEFR level, A1 to C2; only of LEVEL_REACHED'),
            ('milestones', 'reached_on', 'local day on which it was reached'),
            ('retention_stats', 'maturity', 'interval of the review: YOUNG (1 to 20 days) or MATURE (21 days or more)'),
            ('retention_stats', 'asked', 'number of tests: first answers after a review, on a later day'),
            ('retention_stats', 'recalled', 'number of tests that were answered correctly'),
            ('user_progress', 'items_learned', 'number of items ever answered correctly'),
            ('user_progress', 'items_mastered', 'number of items that ever reached an interval of 7 days'),
            ('user_progress', 'last_updated', 'time at which the newest event of the learner was recorded'),
            ('user_progress', 'last_fact_at', 'time of the newest event with a local day; null: none'),
            ('user_progress', 'version', 'transaction that changed a row of the learner last')
        )
        SELECT DISTINCT ON (c.relname, a.attname) c.relname, a.attname, t.meaning
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
        JOIN texts t ON t.attname = a.attname AND coalesce(t.view, c.relname) = c.relname
        WHERE c.relnamespace = 'progress'::regnamespace AND c.relkind = 'v'
        ORDER BY c.relname, a.attname, t.view NULLS LAST
    LOOP
        EXECUTE format('COMMENT ON COLUMN progress.%I.%I IS %L',
            described.relname, described.attname, described.meaning);
    END LOOP;
END
$describe$;

ALTER FUNCTION progress.describe_views OWNER TO progress_project;
REVOKE EXECUTE ON FUNCTION progress.describe_views FROM PUBLIC;
