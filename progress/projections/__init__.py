"""From the event log to the read models."""
