-- What a query function tells about itself.

-- note read --
SELECT event_store.note_read(:schema);
