"""Pub/Sub: pushes, publishing, wake-ups, the backlog."""
