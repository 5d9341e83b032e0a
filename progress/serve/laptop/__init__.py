"""The local stack: real PostgreSQL, Valkey and functions, for development and tests."""
