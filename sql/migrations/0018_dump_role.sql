-- Dumps are of the log and the operations only, so their role no longer reads what the query function does. Its own
-- privileges are in sql/adapters/roles.sql. Memberships belong to the server: another database may do the same now.

DO $$
DECLARE
    giver text;
BEGIN
    FOR giver IN
        SELECT pg_get_userbyid(m.grantor) FROM pg_auth_members m
        WHERE m.roleid = to_regrole('progress_query') AND m.member = to_regrole('progress_backup')
    LOOP
        BEGIN
            EXECUTE 'REVOKE progress_query FROM progress_backup' || CASE
                WHEN current_setting('server_version_num')::int >= 160000 THEN format(' GRANTED BY %I', giver)
                ELSE '' END;
        EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation OR undefined_object OR internal_error THEN
            NULL;  -- another role has given it, or another database has just taken it
        END;
    END LOOP;
END $$;
