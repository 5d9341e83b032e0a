-- End and remove what logins of analysts hold; see functions/analysts.sql.

-- end locks --
SELECT ended, kept FROM event_store.end_analyst_locks();

-- remove objects --
SELECT removed, kept FROM event_store.remove_analyst_objects();
