-- What `progress serve` asks of its database at the start: a lock, and room for its sessions.

-- take lock --
-- Return whether this session has the lock now; null while the database cannot be written to.
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_try_advisory_lock(hashtextextended('progress.serve', 0)) END;

-- holder --
-- The session that has the lock. Another role's beginning is hidden (null).
SELECT a.application_name, a.backend_start
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
  AND (CAST(l.classid AS bigint) << 32 | CAST(l.objid AS bigint)) = hashtextextended('progress.serve', 0);

-- connections --
-- How many connections the functions' logins may open together, and how many the owner.
SELECT least(r.free, nullif(d.datconnlimit, -1)), least(r.free, nullif(d.datconnlimit, -1), nullif(o.rolconnlimit, -1))
FROM (
    SELECT sum(CAST(s.setting AS int) * CASE s.name WHEN 'max_connections' THEN 1 ELSE -1 END) AS free
    FROM pg_settings s
    WHERE s.name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
) r, pg_database d, pg_roles o
WHERE d.datname = current_database() AND o.rolname = current_user;
