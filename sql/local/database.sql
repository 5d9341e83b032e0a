-- What the local stack adds to a database of its own.

-- database --
SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'progress');

-- make database --
CREATE DATABASE progress;

-- users --
-- Each function connects as a user that has its role and nothing else, as it does when deployed.
DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['ingest', 'project', 'batch', 'query'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'local_' || part) THEN
            EXECUTE format('CREATE ROLE %I LOGIN IN ROLE %I', 'local_' || part, 'progress_' || part);
        END IF;
    END LOOP;
END
$$;
