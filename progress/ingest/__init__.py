"""Ingest: from a Pub/Sub push to the event log."""
