"""Event definitions and the event log."""
