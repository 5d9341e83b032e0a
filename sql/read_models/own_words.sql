-- One row per learner and item that the learner ever listed with a headword: the learner's own word, that of the latest
-- such event. It is private: no view for analysts has it, and only the learner reads it.
-- Also held by: operations/test_erasure.py, operations/test_export_user.py, query/test_lists.py.

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

-- of_item --
-- Joins the word w that the reader is shown for the item `asked` with the description i, which may be missing.
LEFT JOIN own_words o ON CAST(:is_learner AS boolean) AND o.user_id = :user_id AND o.item_id = asked.item_id
    AND o.headword <> ''
{read_models/own_words shown}

-- shown --
-- The headword and its kind: those of the description i or, if it has no headword, those of the own word o.
CROSS JOIN LATERAL (SELECT o.headword IS NOT NULL AND coalesce(i.headword, '') = '' AS own) AS is_shown
CROSS JOIN LATERAL (
    SELECT is_shown.own, CASE WHEN is_shown.own THEN o.headword ELSE nullif(i.headword, '') END AS headword,
        CASE WHEN is_shown.own THEN o.kind ELSE i.kind END AS kind
) AS w

-- found --
-- True if the headword, as the reader is shown it, contains the text :search. It is that of the description i or of the
-- own word o, each of which may be missing.
(CAST(:search AS text) = '' OR strpos(event_store.fold_case(coalesce(nullif(i.headword, ''), o.headword)),
          (SELECT event_store.fold_case(CAST(:search AS text)))) > 0)

-- export words --
COPY (
    SELECT {operations/export_user marked_item}, o.headword, o.kind
    FROM own_words s
    JOIN {operations/export_user marked_words} ON o.user_id = s.user_id AND o.item_id = s.item_id
    WHERE s.user_id = current_setting('export.learner')
    ORDER BY s.item_id
) TO STDOUT (FORMAT csv, HEADER);
