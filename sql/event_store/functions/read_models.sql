-- The schemas of read models: who reads them keeps them, and the batch job drops those that nobody reads.

-- Note that the schema is being read. Query functions call this once a minute.
CREATE OR REPLACE FUNCTION event_store.note_read(schema text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
BEGIN ATOMIC
    UPDATE event_store.read_models r SET read_until = clock_timestamp() WHERE r.schema = note_read.schema;
END;

-- Drop a schema of read models. Its tables must be free within a second.
CREATE OR REPLACE FUNCTION event_store.drop_read_models(schema text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    IF schema !~ '^progress_[0-9a-f]{12}(_building|_retired)?$' THEN
        RAISE EXCEPTION 'expected a schema of read models, found %', schema;
    END IF;
    DELETE FROM event_store.read_models r WHERE r.schema = drop_read_models.schema;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', schema);
END $$;
