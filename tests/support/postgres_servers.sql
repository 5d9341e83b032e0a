-- The users of the tests' databases.

-- create users --
-- One user for each role. Each is a member of only its own role, as in the cloud.
DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['ingest', 'project', 'batch', 'query', 'analyst'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'local_' || part) THEN
            EXECUTE format('CREATE ROLE %I LOGIN IN ROLE %I', 'local_' || part, 'progress_' || part);
        END IF;
    END LOOP;
    ALTER ROLE local_analyst SET statement_timeout = '60s';
    ALTER ROLE local_analyst SET idle_in_transaction_session_timeout = '60s';
END
$$;
