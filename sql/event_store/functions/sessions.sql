-- The database's sessions, for a login that may not see those of other logins: what PostgreSQL shows to the owner,
-- without the texts of statements, in which ids of learners may stand.
CREATE OR REPLACE FUNCTION event_store.list_sessions()
RETURNS TABLE (pid integer, login name, application text, state text, xact_start timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT a.pid, a.usename, a.application_name, a.state, a.xact_start
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.usename IS NOT NULL;
END;
