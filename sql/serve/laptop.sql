-- The database of the local stack, and its user for analysts.

-- exists --
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'progress');

-- create database --
CREATE DATABASE progress;

-- create analyst --
-- A user for analysts. The functions have logins of their own.
DO $$
BEGIN
    IF to_regrole('local_analyst') IS NULL THEN
        CREATE ROLE local_analyst LOGIN IN ROLE progress_analyst;
    END IF;
    ALTER ROLE local_analyst SET statement_timeout = '60s';
    ALTER ROLE local_analyst SET idle_in_transaction_session_timeout = '60s';
END
$$;
