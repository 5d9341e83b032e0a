-- The settings of a session, and a test whether a session belongs to its connection. Both drivers run these blocks as
-- simple queries, so that each block takes one round trip and needs no prepared statement. The text of a block has no
-- backslash, because `standard_conforming_strings` may still be off, and only ASCII, because of `client_encoding`.

-- configure --
-- Set what answers, stored values and exit codes depend on, whatever the server, the database or the role sets by
-- default; then the connection's own settings, a JSON object. Settings that have their value already, or that this
-- version of PostgreSQL does not have, are left out. The second statement returns a row if the session's process has
-- the id that the server announced.
SELECT count(set_config(s.name, s.value, false))
FROM (
    VALUES
        -- how values are read and written as text, which pg8000 does
        ('client_encoding', 'UTF8'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'), ('timezone', 'UTC'),
        ('bytea_output', 'hex'), ('extra_float_digits', '1'), ('standard_conforming_strings', 'on'),
        ('array_nulls', 'on'),
        -- what a transaction sees and may do
        ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', 'off'),
        ('search_path', 'public'),
        -- a commit is on disk when it returns; `local` and the like concern standbys, so they stay
        ('synchronous_commit', coalesce(nullif(current_setting('synchronous_commit'), 'off'), 'on')),
        -- limits that are set where they are needed; a session that waits may hold an advisory lock
        ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
        ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0')
    UNION ALL
    SELECT own.key, own.value FROM json_each_text('{settings}') own
) s (name, value)
WHERE current_setting(s.name, true) <> s.value;
SELECT WHERE pg_backend_pid() = {pid};

-- set mark --
SELECT set_config('progress.session', '{token}', false);

-- find mark --
-- Return a row if the session has the mark.
SELECT WHERE current_setting('progress.session', true) = '{token}';

-- begin and find mark --
BEGIN;
{adapters/sessions find mark}

-- end --
COMMIT;
