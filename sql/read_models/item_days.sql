-- One row per learner, item and local day with an answer.

-- table --
CREATE TABLE item_days (
    user_id text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    day     date NOT NULL,
    PRIMARY KEY (user_id, item_id, day)
);

-- The temporary tables copy this storage mode, which avoids TOAST tables (see window_shape in facts.sql).
ALTER TABLE item_days ALTER user_id SET STORAGE PLAIN, ALTER item_id SET STORAGE PLAIN;

-- as_of --
CREATE TEMPORARY TABLE item_days (LIKE item_days INCLUDING STORAGE, PRIMARY KEY (user_id, item_id, day))
    ON COMMIT DELETE ROWS;

-- window --
-- How much the window adds to the items_reviewed of each day; may be negative.
CREATE TEMPORARY TABLE window_reviewed (
    user_id varchar(200) COLLATE "C", day date, items_reviewed bigint
) ON COMMIT DELETE ROWS;

-- empty_window --
DELETE FROM window_reviewed;

-- fold --
-- An item counts as reviewed on every day with an answer, except the day of its first answer. If the first answer moves
-- to another day, this changes the reviews between the two days.
INSERT INTO window_reviewed
SELECT i.user_id, d.day, CASE WHEN d.day > i.first_answered_on THEN 1 ELSE -1 END
FROM window_items i
CROSS JOIN LATERAL (
    SELECT d.day
    FROM item_days d
    WHERE d.user_id = i.user_id AND d.item_id = i.item_id
      AND d.day > least(i.had_answered_on, i.first_answered_on)
      AND d.day <= greatest(i.had_answered_on, i.first_answered_on)
    OFFSET 0
) d
WHERE has_past AND i.had_answered_on <> i.first_answered_on;

WITH arrived AS MATERIALIZED (
    SELECT f.user_id, f.item_id, f.day
    FROM (SELECT user_id, item_id, day FROM window_facts WHERE kind = 'answer' GROUP BY day, item_id, user_id) f
    LEFT JOIN LATERAL (
        SELECT d.day
        FROM item_days d
        WHERE d.user_id = f.user_id AND d.item_id = f.item_id AND d.day = f.day AND has_past
        OFFSET 0
    ) old ON true
    WHERE old.day IS NULL
), kept AS (
    INSERT INTO item_days
    SELECT user_id, item_id, day
    FROM arrived
    WHERE has_future
)
INSERT INTO window_reviewed
SELECT a.user_id, a.day, count(*)
FROM arrived a
JOIN window_items i ON i.item_id = a.item_id AND i.user_id = a.user_id
WHERE a.day > i.first_answered_on
GROUP BY a.day, a.user_id;

-- whole --
SELECT DISTINCT user_id, item_id, day
FROM dated_facts
WHERE kind = 'answer'

-- snapshot --
(SELECT jsonb_object_agg(item_id, days)
 FROM (
     SELECT t.item_id, array_agg(t.day)::text AS days FROM item_days t WHERE t.user_id = learner GROUP BY t.item_id
 ) d)

-- restore --
-- Restore only the items that the window may change.
INSERT INTO item_days
SELECT learner, s.item_id, d.day
FROM (SELECT DISTINCT item_id FROM window_facts WHERE kind = 'answer') w
JOIN jsonb_each_text(state.item_days) s (item_id, days) ON s.item_id = w.item_id
CROSS JOIN LATERAL unnest(s.days::date[]) d (day);

-- reset_learners --
DELETE FROM item_days WHERE user_id = ANY (learners);
