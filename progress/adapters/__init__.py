"""Adapters to PostgreSQL, Redis, Pub/Sub and other services; they import nothing of the domain."""
