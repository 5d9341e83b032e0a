"""Adapters to PostgreSQL, Redis, Pub/Sub and other services; they do not import domain modules."""
