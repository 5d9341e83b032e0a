-- The passwords of logins; roles.sql makes each a member of its group.

-- set parameters --
-- Store the parameters of `apply` as settings of the transaction, because a password in a statement's text would appear
-- in the server's log and statistics. The password is not hashed, because Neon rejects hashed passwords.
SELECT set_config('progress.login', :login, true), set_config('progress.group', :group, true),
       set_config('progress.password', :password, true);

-- apply --
DO $$
DECLARE
    login    text := current_setting('progress.login');
    target   text := current_setting('progress.group');
    password text := nullif(current_setting('progress.password'), '');
BEGIN
    IF EXISTS (
        SELECT FROM pg_roles r
        WHERE r.rolname = login AND (r.rolsuper OR r.rolname IN (current_user, session_user))
    ) THEN
        RAISE EXCEPTION 'it has more privileges than any group: it is the owner or a superuser';
    END IF;
    IF password IS NOT NULL THEN
        EXECUTE format(CASE WHEN to_regrole(quote_ident(login)) IS NULL THEN 'CREATE' ELSE 'ALTER' END
                       || ' ROLE %I LOGIN PASSWORD %L', login, password);
    ELSIF to_regrole(quote_ident(login)) IS NULL THEN
        RAISE EXCEPTION 'there is no such login, and no password to create it with';
    END IF;
    IF target = 'progress_analyst' THEN
        -- A query or an open transaction of an analyst keeps a former schema. Roles do not inherit settings.
        BEGIN
            EXECUTE format('ALTER ROLE %I SET statement_timeout = ''60s''', login);
            EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''60s''', login);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- another role created the login (Cloud SQL's IAM); the analyst sets the limits (docs/analysis.md)
        END;
        -- The owner needs the login's privileges to end its sessions and to remove its large objects (analysts.sql).
        BEGIN
            EXECUTE format('GRANT %I TO %I', login, current_user)
                || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE' ELSE '' END;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- likewise
        END;
    END IF;
EXCEPTION WHEN OTHERS THEN
    -- Raise the error again without its context, which contains the failed statement with the password.
    RAISE EXCEPTION '%', SQLERRM USING ERRCODE = SQLSTATE;
END $$;

-- restrict --
-- Take the right to connect to this database from PUBLIC. Who has rights of their own in it keeps it, and so do
-- analysts and monitoring. The groups of functions and runs do not get it: they belong to all databases of the server,
-- and the logins of each system shall connect to its own only.
DO $$
DECLARE
    kept text;
BEGIN
    FOR kept IN
        SELECT r.rolname FROM pg_roles r
        WHERE NOT r.rolsuper
          AND r.rolname !~ '^progress_(ingest|project|batch|query|backup|erasure)(_|$)' AND (
            r.rolname IN ('progress_analyst', 'progress_load', 'pg_monitor', 'pg_read_all_data')
            OR r.oid IN (
                SELECT s.refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
                WHERE d.datname = current_database() AND s.refclassid = 'pg_authid'::regclass)
            OR r.rolcanlogin AND EXISTS (
                SELECT FROM unnest(ARRAY['ingest', 'project', 'batch', 'query', 'backup']) g (part)
                WHERE pg_has_role(r.oid, 'progress_' || g.part, 'USAGE')))
    LOOP
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), kept);
    END LOOP;
    EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database());
END $$;

-- is public --
SELECT EXISTS (
    SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'CONNECT'
);

-- drop former --
-- Drop the logins of the transport of 0.4, once no system uses them, then their group. Another system may do the same
-- at the same time.
DO $$
DECLARE
    former text;
BEGIN
    FOR former IN
        SELECT r.rolname FROM pg_roles r
        WHERE r.rolname ~ '^progress_transport(_|$)' AND to_regnamespace('transport') IS NULL
          AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.usename = r.rolname)
        ORDER BY 1 DESC
    LOOP
        BEGIN
            EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), former);
            EXECUTE format('DROP ROLE %I', former);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege OR undefined_object
            OR internal_error THEN
            NULL;  -- it owns something, another role has created it, or another system has just dropped it
        END;
    END LOOP;
END $$;
