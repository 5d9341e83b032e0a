-- One row per learner and item that the learner ever set aside or resumed. The latest of these events decides.

-- table --
CREATE TABLE set_aside_items (
    user_id      text COLLATE "C" NOT NULL,
    item_id      text COLLATE "C" NOT NULL,
    decided_at   timestamptz NOT NULL,     -- time of the latest ItemSetAside or ItemResumed about the item
    decided_id   uuid        NOT NULL,     -- id of this event
    is_set_aside boolean     NOT NULL,     -- whether the item is set aside now
    PRIMARY KEY (user_id, item_id)
) WITH (fillfactor = 80);

-- fold --
IF window_kinds && ARRAY['set_aside', 'resume'] THEN
INSERT INTO set_aside_items AS a
SELECT DISTINCT ON (user_id, item_id) user_id, item_id, occurred_at, event_id, kind = 'set_aside'
FROM window_facts
WHERE kind IN ('set_aside', 'resume')
ORDER BY user_id, item_id, occurred_at DESC, event_id DESC
ON CONFLICT (user_id, item_id) DO UPDATE SET
    decided_at   = excluded.decided_at,
    decided_id   = excluded.decided_id,
    is_set_aside = excluded.is_set_aside
WHERE (excluded.decided_at, excluded.decided_id) > (a.decided_at, a.decided_id);
END IF;

-- definition --
SELECT user_id, item_id, occurred_at AS decided_at, event_id AS decided_id, kind = 'set_aside' AS is_set_aside
FROM (
    SELECT e.*, row_number() OVER (PARTITION BY user_id, item_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM facts e
    WHERE e.kind IN ('set_aside', 'resume')
      AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = e.user_id)
) decided
WHERE place = 1

-- of_item --
-- Joins the row `aside` if the learner has set the item of the row s aside.
LEFT JOIN set_aside_items aside ON aside.user_id = :user_id AND aside.item_id = s.item_id AND aside.is_set_aside
