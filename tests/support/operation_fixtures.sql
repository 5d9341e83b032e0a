-- What the tests of operations watch, and what they spoil.

-- database rights --
-- A copy of a database is without those on the database itself.
DO $$ BEGIN
    EXECUTE format('GRANT CREATE ON DATABASE %I TO progress_project', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO progress_query', current_database());
END $$;

-- watch --
-- Every change of an operation is noted, in its order.
CREATE TABLE public.seen (change bigint GENERATED ALWAYS AS IDENTITY, version bigint, progress float8, state text);
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO public.seen (version, progress, state) VALUES (NEW.version, NEW.progress, NEW.state);
    RETURN NULL;
END $$;
CREATE TRIGGER seen AFTER INSERT OR UPDATE ON operations.operations FOR EACH ROW EXECUTE FUNCTION public.see();

-- seen --
SELECT version, progress, state FROM public.seen ORDER BY change;

-- spoil --
-- As a fold with a fault would leave it.
UPDATE user_progress SET answers = answers + 1;

-- deny --
REVOKE SELECT ON event_store.events FROM progress_project;

-- allow --
GRANT SELECT ON event_store.events TO progress_project;

-- hold the log --
LOCK TABLE event_store.events IN ACCESS EXCLUSIVE MODE;

-- hold rebuilds --
SELECT pg_advisory_lock(hashtext('rebuild'), 0);

-- mend --
-- In place of a rule that became wider.
UPDATE event_store.dead_letters SET payload = replace(payload, '99999', '9') WHERE letter_id = :letter_id;

-- hold the swap --
-- As who folds a shard does.
SELECT pg_advisory_xact_lock(hashtext(current_schema()), 3);
