-- The roles, their logins and privileges, what they own, and the order of text: the state that no table holds, and that
-- a dump or a new version of PostgreSQL may lack. `migrate` compares the catalogue with this file, and changes what
-- differs. The passwords are in logins.sql. See tests/event_store/test_rights.py.

-- privileges --
-- What each role may do, or owns (OWNER), of each kind and schema: `*` stands for all names, and for the schemas of all
-- versions. The rest belongs to the owner of the log. These roles and PUBLIC may do nothing else, so a new function
-- needs a place here. During a release, the former version serves with these privileges: they must suffice for it, too.
VALUES
    ('progress_ingest', 'USAGE', 'SCHEMA', 'event_store'),
    ('progress_ingest', 'EXECUTE', 'ROUTINE event_store', 'append end_analyst_locks'),

    ('progress_project', 'CREATE', 'DATABASE', '*'), ('progress_project', 'OWNER', 'SCHEMA', 'progress progress_*'),
    ('progress_project', 'OWNER', 'TABLE progress, TABLE progress_*, ROUTINE progress, ROUTINE progress_*', '*'),
    ('progress_project', 'OWNER', 'TYPE progress_*', '*'),
    ('progress_project', 'USAGE', 'SCHEMA', 'event_store operations'),
    ('progress_project', 'SELECT', 'TABLE event_store', 'accesses dead_letters erased erasure_announcements
        erasure_key events milestone_definitions milestone_marks poison_marks poisoned publisher_checkpoints read_models
        snapshots'),
    ('progress_project progress_batch', 'INSERT', 'TABLE event_store', 'milestone_definitions milestone_marks
        publisher_checkpoints snapshots'),
    ('progress_project', 'INSERT', 'TABLE event_store', 'read_models'),
    ('progress_project', 'UPDATE', 'TABLE event_store', 'erasure_announcements publisher_checkpoints read_models'),
    ('progress_project', 'DELETE', 'TABLE event_store', 'erasure_announcements milestone_marks snapshots'),
    ('progress_batch', 'INSERT, UPDATE, DELETE', 'TABLE event_store', 'erasure_announcements'),
    ('progress_project', 'SELECT, UPDATE', 'TABLE operations', 'operations steps'),
    ('progress_project', 'EXECUTE', 'ROUTINE event_store', 'adopt_marks analyze_columns append clear_marks
        count_of_learner count_unpublished delete_pending drop_orphaned_marks drop_read_models erased_stream
        erasure_digest event_uuid fold_case forbid_learner has_messages hide_sessions is_deleted keyed_digest letters_of
        mark_failed mark_poisoned mark_replayed mentions_of move_publisher next_messages pending_of position_at
        published_event quarantine record_accesses record_owners redact_accesses redact_events redact_letters
        redact_letters_of redact_undeclared release renew_statistics save_snapshot shard_of take_apart undeclared_of'),
    ('progress_project', 'EXECUTE', 'ROUTINE operations', 'count_problems lock_key operations_of redact_operations'),

    ('progress_batch progress_query', 'USAGE', 'SCHEMA', 'event_store operations progress progress_*'),
    ('progress_batch', 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE', 'TABLE progress_*, TABLE progress', '*'),
    ('progress_batch', 'SELECT', 'TABLE event_store', 'accesses dead_letters erased erasure_announcements events
        learner_conflicts letter_bytes milestone_definitions milestone_marks pending poison_marks poisoned
        publisher_checkpoints read_models snapshots'),
    ('progress_batch', 'UPDATE', 'TABLE event_store', 'publisher_checkpoints snapshots'),
    ('progress_batch', 'DELETE', 'TABLE event_store', 'accesses dead_letters learner_conflicts snapshots'),
    ('progress_batch', 'DELETE, SELECT (operation_id), SELECT (kind), SELECT (subject), SELECT (finished_at)',
        'TABLE operations', 'operations'),
    ('progress_batch', 'SELECT (cancelled_by), SELECT (key_digest)', 'TABLE operations', 'operations'),
    ('progress_batch', 'EXECUTE', 'ROUTINE event_store', 'append count_unpublished drop_orphaned_marks drop_read_models
        empty_old_letters end_analyst_locks erasure_digest event_uuid fold_case has_messages is_deleted mark_failed
        mark_poisoned mark_replayed most_letter_bytes move_publisher next_messages published_event quarantine
        record_owners redact_letters remove_analyst_objects save_snapshot shard_of take_apart'),
    ('progress_batch', 'EXECUTE', 'ROUTINE operations', 'accept archive_is_due count_problems delete_finished
        list_unclaimed'),
    ('progress_batch', 'EXECUTE', 'ROUTINE progress', 'replace_views'),

    ('progress_query', 'TEMPORARY', 'DATABASE', '*'),
    ('progress_query', 'SELECT', 'TABLE event_store', '* -erasure_key'),
    ('progress_query', 'SELECT', 'TABLE operations, TABLE progress_*, TABLE progress', '*'),
    ('progress_query', 'EXECUTE', 'ROUTINE event_store', 'append_own append_tasks count_unpublished discard_letters
        event_uuid find_tasks fold_case is_erased list_sessions note_read record_accesses shard_of'),
    ('progress_query', 'EXECUTE', 'ROUTINE operations', 'accept cancel find_erasure retry'),
    ('PUBLIC progress_batch progress_query', 'EXECUTE', 'ROUTINE progress_*', '*'),

    -- The functions that empty events run as this role, because the trigger on the events admits no other.
    ('progress_erasure', 'OWNER', 'ROUTINE event_store', 'redact_events redact_undeclared'),
    ('progress_erasure', 'USAGE, CREATE', 'SCHEMA', 'event_store'),
    ('progress_erasure', 'SELECT, UPDATE, DELETE', 'TABLE event_store',
        'dead_letters events pending sessions snapshots'),
    ('progress_erasure', 'SELECT, DELETE', 'TABLE event_store', 'poison_marks poisoned'),
    ('progress_erasure', 'EXECUTE', 'ROUTINE event_store', 'erased_stream erasure_digest event_uuid keyed_digest
        redact_letters shard_of undeclared_of'),

    ('progress_analyst', 'USAGE', 'SCHEMA', 'progress'), ('progress_analyst', 'SELECT', 'TABLE progress', '*'),
    -- Dumps are of the log and the operations. Read models are rebuilt.
    ('progress_backup', 'USAGE', 'SCHEMA', 'event_store operations'),
    ('progress_backup', 'SELECT', 'TABLE event_store', '* -snapshots'),
    ('progress_backup', 'SELECT', 'TABLE operations', '*'),
    ('progress_backup', 'SELECT', 'TABLE public', 'progress_migrations'),
    ('progress_backup', 'SELECT', 'SEQUENCE event_store, SEQUENCE operations', '*'),

    -- Analysts could stop the service with advisory locks and large objects. Only a superuser takes their functions
    -- from PUBLIC; elsewhere, the batch job ends what analysts hold (sql/event_store/functions/analysts.sql). The two
    -- that read and write the server's files are nobody's.
    ('pg_database_owner progress_ingest progress_project progress_batch progress_query progress_load progress_erasure
        progress_backup', 'EXECUTE', 'ROUTINE pg_catalog', '* -lo_import -lo_export')

-- set logins --
-- Name the logins that `statements` compares. They are a setting of the session, because `apply` takes no parameters.
SELECT set_config('progress.logins', :logins, false);

-- differences --
-- Return the statements, in order, that make the catalogue what this file says. To compile the query takes seconds.
SET LOCAL jit = off;
{adapters/roles statements};

-- statements --
-- The owner of the log, `keeper`, is that of its schema, unless a superuser has restored it for the database's owner.
WITH server AS (
    SELECT r.rolsuper AS is_super, r.rolcreaterole OR r.rolsuper AS makes_roles, coalesce((
        SELECT pg_get_userbyid(n.nspowner) FROM pg_namespace n JOIN pg_database d ON d.datname = current_database()
        WHERE n.nspname = 'event_store' AND (pg_has_role(n.nspowner, 'USAGE') OR NOT pg_has_role(d.datdba, 'USAGE'))
    ), r.rolname) AS keeper
    FROM pg_roles r WHERE r.rolname = current_user
), logins AS MATERIALIZED (  -- logins.sql refuses the others
    SELECT l.*, r.oid
    FROM jsonb_to_recordset(CAST(current_setting('progress.logins') AS jsonb))
        AS l (name text, "group" text, has_password boolean)
    LEFT JOIN pg_roles r ON r.rolname = l.name
    WHERE coalesce(NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user), l.has_password)
), wanted AS MATERIALIZED (
    SELECT r.role, p.privilege, s.place, regexp_split_to_array(w.names, '\s+') AS names
    FROM ({adapters/roles privileges}) AS w (roles, privileges, places, names),
        regexp_split_to_table(w.roles, '\s+') AS r (role), string_to_table(w.privileges, ', ') AS p (privilege),
        string_to_table(w.places, ', ') AS s (place)
), spaces AS (
    SELECT n.*, regexp_replace(n.nspname, '^progress_.*', 'progress_*') AS space, CASE
        WHEN n.nspname = 'public' THEN '^progress_(migrations|functions|refusals)$'
        WHEN n.nspname = 'pg_catalog' THEN '^(pg_(try_)?advisory_|lo_|loread$|lowrite$)'
        WHEN n.nspname ~ '_building$' THEN '^$' ELSE '' END AS contents  -- what is being built is locked for long
    FROM pg_namespace n, server s
    WHERE n.nspname ~ '^(event_store|operations|public|progress(_[0-9a-f]{12}(_building|_retired)?)?)$'
      AND (n.nspname = 'public' OR to_regclass('event_store.erased') IS NOT NULL)  -- otherwise, it is another program's
       OR s.is_super AND n.nspname = 'pg_catalog'
), objects (place, name, target, oid, owner, acl) AS MATERIALIZED (
    SELECT 'DATABASE', d.datname, format('DATABASE %I', d.datname), NULL::oid, NULL::oid, d.datacl
    FROM pg_database d WHERE d.datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', n.space, format('SCHEMA %I', n.nspname), NULL, n.nspowner, n.nspacl
    FROM spaces n WHERE n.nspname NOT IN ('public', 'pg_catalog')
    UNION ALL  -- a sequence has the owner of its table
    SELECT k.kind || n.space, c.relname, format('%s%I.%I', k.kind, n.nspname, c.relname), c.oid,
        CASE WHEN c.relkind <> 'S' THEN c.relowner END, c.relacl
    FROM spaces n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname ~ n.contents
    JOIN (VALUES ('r'::"char", 'TABLE '), ('v', 'TABLE '), ('S', 'SEQUENCE ')) AS k (relkind, kind) USING (relkind)
    WHERE n.nspname <> 'pg_catalog'
    UNION ALL
    SELECT 'ROUTINE ' || n.space, p.proname,
        format('ROUTINE %I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), p.oid,
        CASE WHEN n.nspname <> 'pg_catalog' THEN p.proowner END, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM spaces n JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname ~ n.contents
    UNION ALL
    SELECT 'TYPE ' || n.space, t.typname, format('TYPE %I.%I', n.nspname, t.typname), t.oid, t.typowner, NULL
    FROM spaces n JOIN pg_type t ON t.typnamespace = n.oid AND t.typcategory <> 'A' AND t.typname ~ n.contents
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    WHERE n.nspname NOT IN ('public', 'pg_catalog') AND coalesce(c.relkind, 'c') = 'c'
), matches AS MATERIALIZED (
    SELECT o.*, w.role, w.privilege
    FROM objects o JOIN wanted w ON w.place = o.place
     AND (o.name = ANY (w.names) OR w.names[1] = '*' AND '-' || o.name <> ALL (w.names))
), owners AS MATERIALIZED (
    SELECT o.*, coalesce(m.role, s.keeper) AS due
    FROM server s CROSS JOIN objects o LEFT JOIN matches m ON m.privilege = 'OWNER' AND m.target = o.target
), due AS (
    SELECT m.place, m.target, m.role, m.privilege FROM matches m WHERE m.privilege <> 'OWNER'
), given AS (
    SELECT o.place, o.target, coalesce(r.rolname::text, 'PUBLIC') AS role, e.privilege
    FROM owners o
    CROSS JOIN LATERAL (
        SELECT a.grantee, a.privilege_type FROM aclexplode(o.acl) AS a UNION ALL
        SELECT a.grantee, format('%s (%s)', a.privilege_type, c.attname)
        FROM pg_attribute c, aclexplode(c.attacl) AS a WHERE c.attrelid = o.oid AND o.place LIKE 'TABLE %'
    ) AS e (grantee, privilege)
    LEFT JOIN pg_roles r ON r.oid = e.grantee
    WHERE r.rolname IS DISTINCT FROM o.due AND e.grantee IS DISTINCT FROM o.owner
      AND coalesce(r.rolname, 'PUBLIC') IN (SELECT w.role FROM wanted w)
), changes AS (
    SELECT 'GRANT' AS verb, 'TO' AS word, d.* FROM (TABLE due EXCEPT TABLE given) AS d
    UNION ALL  -- progress_load has more privileges while a rebuild loads
    SELECT 'REVOKE', 'FROM', g.* FROM (TABLE given EXCEPT TABLE due) AS g
    WHERE g.place <> 'DATABASE' AND (g.role <> 'progress_load' OR g.place = 'ROUTINE pg_catalog')
), roles (role) AS (
    SELECT DISTINCT w.role FROM wanted w WHERE w.role ~ '^progress_'
), statements (step, statement) AS (
    SELECT 1, format('CREATE ROLE %I NOLOGIN', r.role) FROM roles r WHERE to_regrole(r.role) IS NULL
    UNION ALL
    SELECT 1, format('CREATE ROLE %I LOGIN', l.name) FROM logins l WHERE l.oid IS NULL
    UNION ALL  -- whoever sets passwords needs this
    SELECT 1, format('ALTER ROLE %I CREATEROLE', current_user) FROM server s
    WHERE NOT s.makes_roles AND EXISTS (SELECT FROM logins l WHERE l.has_password)
    UNION ALL  -- from PostgreSQL 16 on, the keeper needs this, too; whoever created the role has it
    SELECT 2, format('GRANT %I TO %I WITH ADMIN OPTION', r.role, s.keeper)
    FROM server s, (TABLE roles UNION ALL SELECT l.name FROM logins l WHERE l.has_password) AS r (role)
    WHERE (current_setting('server_version_num')::int >= 160000 OR NOT s.makes_roles)
      AND NOT coalesce(
        pg_has_role(s.keeper, to_regrole(quote_ident(r.role))::oid, 'MEMBER WITH ADMIN OPTION'), false)
    UNION ALL
    SELECT 2, format('GRANT %I TO %I', m.role, m.member)
    FROM server s
    CROSS JOIN LATERAL (VALUES ('progress_project', s.keeper), ('progress_erasure', s.keeper)) AS m (role, member)
    WHERE NOT coalesce(
        pg_has_role(to_regrole(quote_ident(m.member))::oid, to_regrole(m.role)::oid, 'USAGE'), false)
    UNION ALL
    SELECT 3, format('GRANT %I TO %I', l."group", l.name) FROM logins l
    WHERE NOT coalesce(pg_has_role(l.oid, to_regrole(l."group")::oid, 'USAGE'), false)
    UNION ALL
    SELECT 3, format('ALTER ROLE %I %s', r.rolname, string_agg(a.attribute, ' '))
    FROM pg_roles r LEFT JOIN logins l ON l.oid = r.oid CROSS JOIN LATERAL (VALUES
        ('NOSUPERUSER', r.rolsuper), ('NOCREATEDB', r.rolcreatedb), ('NOCREATEROLE', r.rolcreaterole),
        ('NOREPLICATION', r.rolreplication), ('NOBYPASSRLS', r.rolbypassrls), ('INHERIT', NOT r.rolinherit),
        ('LOGIN', l.oid IS NOT NULL AND NOT r.rolcanlogin), ('NOLOGIN', l.oid IS NULL AND r.rolcanlogin)
    ) AS a (attribute, differs)
    WHERE a.differs AND (l.has_password OR r.rolname IN (TABLE roles))
    GROUP BY r.rolname
    UNION ALL  -- after pg_upgrade, another role has granted it
    SELECT 3, format('REVOKE %I FROM %I', g.rolname, r.rolname)
        || CASE WHEN current_setting('server_version_num')::int >= 160000
            THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END
    FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
    LEFT JOIN logins l ON l.oid = m.member
    WHERE r.rolname IN (TABLE roles) OR g.rolname IN (TABLE roles) AND g.rolname <> l."group"
    UNION ALL  -- see `restrict` in logins.sql
    SELECT 4, format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), l.name) FROM logins l
    WHERE NOT coalesce(has_database_privilege(l.oid, current_database(), 'CONNECT'),
        has_database_privilege('public', current_database(), 'CONNECT'))
    UNION ALL
    SELECT CASE o.place WHEN 'SCHEMA' THEN 3 ELSE 5 END, format('ALTER %s OWNER TO %I', o.target, o.due)
    FROM owners o JOIN pg_roles r ON r.oid = o.owner AND r.rolname <> o.due
    UNION ALL
    SELECT CASE WHEN c.place IN ('DATABASE', 'SCHEMA') THEN 4 ELSE 6 END,
        format('%s %s ON %s %s %s', c.verb, string_agg(c.privilege, ', '), c.target, c.word, c.role)
    FROM changes c GROUP BY c.place, c.verb, c.target, c.word, c.role
    UNION ALL
    SELECT 7, format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s GRANT %s ON %s TO %I', d.owner,
        'IN SCHEMA ' || d.space, d.privileges, d.things, d.role)
    FROM server s CROSS JOIN LATERAL (VALUES
        (s.keeper, 'event_store', 'SELECT', 'TABLES', 'progress_query', 'r'::"char"),
        ('progress_project', 'progress', 'SELECT', 'TABLES', 'progress_analyst', 'r'),
        ('progress_project', NULL, 'SELECT', 'TABLES', 'progress_query', 'r'),
        ('progress_project', NULL, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE', 'TABLES', 'progress_batch', 'r'),
        ('progress_project', NULL, 'USAGE', 'SCHEMAS', 'progress_batch', 'n'),
        ('progress_project', NULL, 'USAGE', 'SCHEMAS', 'progress_query', 'n'),
        ('progress_project', NULL, 'EXECUTE', 'FUNCTIONS', 'progress_batch', 'f'),
        ('progress_project', NULL, 'EXECUTE', 'FUNCTIONS', 'progress_query', 'f')
    ) AS d (owner, space, privileges, things, role, type)
    WHERE (d.space IS NULL OR to_regnamespace(d.space) IS NOT NULL)
      AND NOT string_to_array(d.privileges, ', ') <@ ARRAY(
        SELECT e.privilege_type FROM pg_default_acl a, aclexplode(a.defaclacl) AS e
        WHERE a.defaclrole = to_regrole(quote_ident(d.owner)) AND a.defaclobjtype = d.type
          AND a.defaclnamespace = coalesce(to_regnamespace(d.space)::oid, 0) AND e.grantee = to_regrole(d.role))
    UNION ALL  -- the server orders text otherwise than the one that wrote these indexes; one text, so that both happen
    SELECT 8, concat((
        SELECT string_agg(format('REINDEX INDEX %s; ', c.oid::regclass), '' ORDER BY c.oid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid AND c.relpersistence <> 't'
        WHERE 'pg_catalog."default"'::regcollation = ANY (i.indcollation)
    ), format('ALTER DATABASE %I REFRESH COLLATION VERSION', d.datname))
    FROM pg_database d
    WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid)
)
SELECT s.statement FROM statements s ORDER BY s.step, s.statement

-- apply --
-- Change what differs, except what this session's user may not change.
DO $apply$
DECLARE
    change text;
BEGIN
    SET LOCAL lock_timeout = '1s';  -- whoever wants to read a table waits, too
    SET LOCAL jit = off;
    FOR change IN
{adapters/roles statements}
    LOOP
        BEGIN
            EXECUTE change;
        EXCEPTION WHEN insufficient_privilege OR invalid_grant_operation OR undefined_object
            OR duplicate_object OR unique_violation THEN  -- another database has just created the role
        END;
    END LOOP;
END
$apply$;
