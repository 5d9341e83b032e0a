-- The schemas of read models: who reads them keeps them, and the batch job drops those that nobody reads.

-- Note that the schema is being read. Query functions call this once a minute.
CREATE OR REPLACE FUNCTION event_store.note_read(schema text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s'
BEGIN ATOMIC
    UPDATE event_store.read_models r SET read_until = clock_timestamp() WHERE r.schema = note_read.schema;
END;

-- Drop a schema of read models. Its tables must be free within a second, and no query function may have read it within
-- an hour, not even since the caller has chosen the schema.
CREATE OR REPLACE FUNCTION event_store.drop_read_models(schema text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
DECLARE
    until timestamptz;
BEGIN
    IF schema !~ '^progress_[0-9a-f]{12}(_building|_retired)?$' THEN
        RAISE EXCEPTION 'expected a schema of read models, found %', schema;
    END IF;
    DELETE FROM event_store.read_models r WHERE r.schema = drop_read_models.schema RETURNING r.read_until INTO until;
    IF until > clock_timestamp() - interval '1 hour' THEN
        RAISE EXCEPTION '% is being read', schema USING ERRCODE = 'lock_not_available';
    END IF;
    EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', schema);
END $$;
