-- Mutations record their events at once (append_own), so nothing is announced until then.
DROP FUNCTION IF EXISTS event_store.announce(text, text, text, text, integer), event_store.withdraw(text, text, text);
DROP TABLE IF EXISTS event_store.announcements;
