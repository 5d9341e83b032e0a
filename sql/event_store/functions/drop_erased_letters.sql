-- Drop the dead letters of erased learners from a batch; `erased` is the number of entries dropped. judge_letter
-- decides about each dead letter. One that is not a JSON object is kept without its payload.
CREATE OR REPLACE FUNCTION event_store.drop_erased_letters(INOUT letters jsonb, OUT erased integer)
LANGUAGE plpgsql AS $$
DECLARE
    letter jsonb;
    kept   jsonb[] := '{}';
    judged event_store.judgement;
    rest   record;
BEGIN
    erased := 0;
    FOR letter IN SELECT l.e FROM jsonb_array_elements(letters) WITH ORDINALITY AS l (e, n) ORDER BY l.n LOOP
        judged := event_store.judge_letter(letter ->> 'payload', letter -> 'attributes', letter ? 'indexes',
            letter ->> 'learner', letter #>> '{data,session_id}', NULL);
        IF judged IS DISTINCT FROM NULL THEN
            SELECT * INTO rest
            FROM event_store.erase_entries(letter ->> 'payload', letter -> 'attributes', letter -> 'indexes', judged);
            erased := erased + coalesce(cardinality(judged.gone), 0);
            CONTINUE WHEN rest.is_gone;
            letter := letter || jsonb_build_object('payload', rest.payload, 'attributes', rest.attributes,
                'emptied_bytes', rest.emptied_bytes, 'emptied_sha256', rest.emptied_sha256);
            IF rest.indexes IS NOT NULL THEN
                letter := letter || jsonb_build_object('indexes', rest.indexes);
            END IF;
        END IF;
        kept := kept || letter;
    END LOOP;
    letters := to_jsonb(kept);
END $$;

REVOKE EXECUTE ON FUNCTION event_store.drop_erased_letters FROM PUBLIC;
