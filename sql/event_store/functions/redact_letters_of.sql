-- Erase the entries of the dead letters that letters_of returns for the same arguments. Return the number of these dead
-- letters, and the last id that was read. A dead letter without other entries is emptied and closed. One that is not
-- JSON is emptied and stays open: its kind, its reason, and the size and hash of its payload say what was lost.
CREATE OR REPLACE FUNCTION event_store.redact_letters_of(
    wanted bytea, after bigint, at_most integer, OUT redacted integer, OUT reached bigint
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET jit = off
AS $$
DECLARE
    letter_ids bigint[];
    letter     event_store.dead_letters;
    judged     event_store.judgement;
    rest       record;
BEGIN
    SELECT l.letter_ids, l.reached INTO letter_ids, reached FROM event_store.letters_of(wanted, after, at_most) l;
    redacted := coalesce(cardinality(letter_ids), 0);
    FOR place IN 1 .. redacted LOOP
        -- Judge the entries again, because a replay may have changed the dead letter before it was locked.
        SELECT * INTO letter FROM event_store.dead_letters l WHERE l.letter_id = letter_ids[place] FOR UPDATE;
        judged := event_store.judge_letter(
            letter.payload, letter.attributes, letter.indexes IS NOT NULL, NULL, NULL, wanted);
        SELECT * INTO rest
        FROM event_store.erase_entries(letter.payload, letter.attributes, letter.indexes, judged);
        IF letter.kind = 'poisoned' OR rest.is_gone THEN
            PERFORM event_store.redact_letters(ARRAY[letter.letter_id]);
        ELSIF judged IS DISTINCT FROM NULL THEN
            UPDATE event_store.dead_letters l
            SET payload = rest.payload, attributes = rest.attributes, indexes = rest.indexes,
                emptied_bytes = rest.emptied_bytes, emptied_sha256 = rest.emptied_sha256
            WHERE l.letter_id = letter.letter_id;
        END IF;
    END LOOP;
END $$;

REVOKE EXECUTE ON FUNCTION event_store.redact_letters_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.redact_letters_of TO progress_project;
