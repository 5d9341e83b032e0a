-- A call of message-db, whose parameters psycopg passes.

-- write --
SELECT write_message(%s, %s, %s, %s)
