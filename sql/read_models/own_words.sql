-- One row per learner and item that the learner ever listed with a headword: the learner's own word, that of the latest
-- such event. It is private: no view for analysts has it, and only the learner reads it.

-- table --
CREATE TABLE own_words (
    user_id  text COLLATE "C" NOT NULL,
    item_id  text COLLATE "C" NOT NULL,
    said_at  timestamptz NOT NULL,         -- time of the latest ItemListed with a headword
    said_id  uuid        NOT NULL,
    headword text COLLATE "C" NOT NULL,    -- empty: the learner took the word away
    kind     text COLLATE "C",             -- of the same event; null: none
    PRIMARY KEY (user_id, item_id)
) WITH (fillfactor = 80);

-- functions --
CREATE FUNCTION fold_own_words(positions bigint[]) RETURNS void LANGUAGE plpgsql AS $words$
BEGIN
{read_models/lists of_window}
INSERT INTO own_words AS w
{read_models/own_words definition}
ORDER BY user_id, item_id
ON CONFLICT (user_id, item_id) DO UPDATE SET
said_at  = excluded.said_at,
said_id  = excluded.said_id,
headword = excluded.headword,
kind     = excluded.kind
WHERE (excluded.said_at, excluded.said_id) > (w.said_at, w.said_id);
END
$words$;

-- definition --
SELECT user_id, item_id, occurred_at AS said_at, event_id AS said_id, headword, kind
FROM (
    SELECT f.*, row_number() OVER (PARTITION BY user_id, item_id ORDER BY occurred_at DESC, event_id DESC) AS place
    FROM list_facts f
    WHERE user_id IS NOT NULL AND headword IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM deleted_learners d WHERE d.user_id = f.user_id)
) placed
WHERE place = 1

-- delete_learners --
DELETE FROM own_words WHERE user_id = ANY (learners);
