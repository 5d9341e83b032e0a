-- Logins, each a member of one of the groups that the migrations create.

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
    other    text;
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
    FOR other IN
        SELECT g.rolname FROM pg_auth_members m
        JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
        WHERE r.rolname = login AND g.rolname <> target
          AND g.rolname IN (
              'progress_ingest', 'progress_project', 'progress_batch', 'progress_query', 'progress_load',
              'progress_erasure', 'progress_analyst', 'progress_backup')
    LOOP
        EXECUTE format('REVOKE %I FROM %I', other, login);
    END LOOP;
    IF NOT pg_has_role(login, target, 'USAGE') THEN
        EXECUTE format('GRANT %I TO %I', target, login);
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
