-- What a login of analysts could leave behind to the harm of the service: advisory locks, which any login may take
-- where the server's superuser has not revoked their functions (sql/migrations/0007_analyst_functions.sql), and large
-- objects, which fill the disk.

-- Return true if the role has the privileges of analysts and of no other group. A superuser has those of all groups,
-- and the owner, who runs this function, may have those of the logins that it created.
CREATE OR REPLACE FUNCTION event_store.is_analyst(role oid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT pg_has_role(r.oid, 'progress_analyst', 'USAGE') AND NOT r.rolsuper AND r.rolname <> current_user
        AND NOT EXISTS (
            SELECT FROM pg_roles g
            WHERE g.rolname IN ('progress_ingest', 'progress_project', 'progress_batch', 'progress_query',
                'progress_load', 'progress_erasure', 'progress_backup')
              AND pg_has_role(r.oid, g.oid, 'USAGE'))
    FROM pg_roles r
    WHERE r.oid = is_analyst.role;
END;

-- End the sessions of analysts that hold an advisory lock or wait for one. Any key counts: the keys of operations and
-- schemas are new each time, and analysts need no such lock. Return the numbers of sessions that ended within two
-- seconds, and of those that the owner may not end.
CREATE OR REPLACE FUNCTION event_store.end_analyst_locks(OUT ended integer, OUT kept integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holder integer;
BEGIN
    ended := 0;
    kept := 0;
    FOR holder IN
        SELECT DISTINCT a.pid
        FROM pg_locks l
        JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND event_store.is_analyst(a.usesysid)
          AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
    LOOP
        BEGIN
            ended := ended + pg_terminate_backend(holder, 2000)::int;
        EXCEPTION WHEN insufficient_privilege THEN
            kept := kept + 1;
        END;
    END LOOP;
END $$;

-- Remove large objects of analysts, at most 1,000, because each takes a lock of the server's lock table. Return the
-- numbers of those removed, and of those that the owner may not remove.
CREATE OR REPLACE FUNCTION event_store.remove_analyst_objects(OUT removed integer, OUT kept integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    object oid;
BEGIN
    removed := 0;
    kept := 0;
    FOR object IN
        SELECT m.oid FROM pg_largeobject_metadata m WHERE event_store.is_analyst(m.lomowner) LIMIT 1000
    LOOP
        BEGIN
            removed := removed + lo_unlink(object);
        EXCEPTION WHEN insufficient_privilege THEN
            kept := kept + 1;
        END;
    END LOOP;
END $$;
