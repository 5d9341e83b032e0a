"""From a push of Pub/Sub to the event log."""
