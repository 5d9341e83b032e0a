"""The local stack: real PostgreSQL, Valkey and functions on one machine, for development and tests."""
