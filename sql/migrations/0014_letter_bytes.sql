-- The bytes of the open dead letters, by who sent them: nobody may fill the database with them.

ALTER TABLE event_store.dead_letters ADD COLUMN poster text COLLATE "C";
COMMENT ON COLUMN event_store.dead_letters.poster IS
    'The erasure_digest of the account that posted the letter, in hexadecimal digits; null if it was pushed.';

-- The sum of the bytes of each sender's open letters (letter_size), as one row for each statement that changed it. The
-- append merges the rows, so that no statement waits for the row of another one.
CREATE TABLE event_store.letter_bytes (
    poster text   COLLATE "C" NOT NULL,    -- as in dead_letters, or the subscription; '' if it has no name
    bytes  bigint NOT NULL
);

INSERT INTO event_store.letter_bytes (poster, bytes)
SELECT l.subscription, sum(octet_length(l.payload) + 512)
FROM event_store.dead_letters l
WHERE l.replayed_at IS NULL AND l.discarded_at IS NULL AND l.kind <> 'poisoned'
GROUP BY l.subscription;

-- The function file replaces the body.
CREATE FUNCTION event_store.count_letter_bytes() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER count_inserted AFTER INSERT ON event_store.dead_letters
    REFERENCING NEW TABLE AS new_letters FOR EACH STATEMENT EXECUTE FUNCTION event_store.count_letter_bytes();
CREATE TRIGGER count_updated AFTER UPDATE ON event_store.dead_letters
    REFERENCING OLD TABLE AS old_letters NEW TABLE AS new_letters
    FOR EACH STATEMENT EXECUTE FUNCTION event_store.count_letter_bytes();
CREATE TRIGGER count_deleted AFTER DELETE ON event_store.dead_letters
    REFERENCING OLD TABLE AS old_letters FOR EACH STATEMENT EXECUTE FUNCTION event_store.count_letter_bytes();

-- Version 0.3 looks nothing up in this index itself; its function goes in the next release.
DROP INDEX event_store.dead_letters_by_session;

-- Rows that exist during an erasure may be emptied after its ANALYZE: letters and pending events of a session whose
-- start comes later, operations that end later. Statistics would keep samples of them. A target of 0 keeps ANALYZE from
-- making any, and the change of a column's type, even to the same one, drops those that are there. Views and the bodies
-- of some functions forbid the change; the function files create these functions again.
DO $$
DECLARE
    records CONSTANT text := pg_get_viewdef('operations.records'::regclass);
    body    regprocedure;
    place   record;
BEGIN
    DROP VIEW operations.records;
    FOR body IN
        SELECT DISTINCT d.objid::regprocedure FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN (
            'event_store.dead_letters'::regclass, 'operations.operations'::regclass, 'operations.steps'::regclass)
    LOOP
        EXECUTE 'DROP FUNCTION ' || body;
    END LOOP;
    FOR place IN
        SELECT a.attrelid::regclass AS table_name, a.attname,
            format_type(a.atttypid, a.atttypmod)
                || coalesce(' COLLATE ' || nullif(a.attcollation, 0)::regcollation, '') AS type_name
        FROM (VALUES
            ('event_store.dead_letters', '{payload,attributes,event_id,event_type}'::text[]),
            ('event_store.pending', '{event_id,session_id,event_data,metadata}'),
            ('operations.operations', '{started_by,subject,requesters,cancelled_by,arguments,error,result}'),
            ('operations.steps', '{error,outcome}')
        ) AS c (name, columns)
        JOIN pg_attribute a ON a.attrelid = c.name::regclass AND a.attname = ANY (c.columns)
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I TYPE %s, ALTER COLUMN %I SET STATISTICS 0',
            place.table_name, place.attname, place.type_name, place.attname);
    END LOOP;
    EXECUTE 'CREATE VIEW operations.records AS ' || records;
END $$;
