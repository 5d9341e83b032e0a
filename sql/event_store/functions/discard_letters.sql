-- Discard the given dead letters that are open; return the number of dead letters discarded.
CREATE OR REPLACE FUNCTION event_store.discard_letters(letter_ids bigint[], reason text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT count(*) FILTER (WHERE event_store.discard_letter(l.letter_id, discard_letters.reason))
    FROM (SELECT DISTINCT u.id AS letter_id FROM unnest(discard_letters.letter_ids) AS u (id) ORDER BY u.id) l;
END;

REVOKE EXECUTE ON FUNCTION event_store.discard_letters FROM PUBLIC;
GRANT EXECUTE ON FUNCTION event_store.discard_letters TO progress_query;
