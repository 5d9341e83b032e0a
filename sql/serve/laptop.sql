-- The database of the local stack, and its user for analysts.

-- exists --
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'progress');

-- create database --
CREATE DATABASE progress;

-- create analyst --
-- A user for analysts. The functions have logins of their own; those of version 0.3 go, with what they were given: a
-- database that PUBLIC may no longer connect to has kept this right for them.
DO $$
DECLARE
    former name;
BEGIN
    FOR former IN
        SELECT r.rolname FROM pg_roles r
        WHERE r.rolname IN ('local_ingest', 'local_project', 'local_batch', 'local_query')
    LOOP
        EXECUTE format('DROP OWNED BY %I', former);
        EXECUTE format('DROP ROLE %I', former);
    END LOOP;
    IF to_regrole('local_analyst') IS NULL THEN
        CREATE ROLE local_analyst LOGIN IN ROLE progress_analyst;
    END IF;
    ALTER ROLE local_analyst SET statement_timeout = '60s';
    ALTER ROLE local_analyst SET idle_in_transaction_session_timeout = '60s';
END
$$;
