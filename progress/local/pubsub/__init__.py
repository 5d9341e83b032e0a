"""A stand-in for Google Pub/Sub, for development only: publish over gRPC, push over HTTP.

It serves the calls that the published client library makes, and stores messages in PostgreSQL until
they are acknowledged. It retries pushes with backoff, and supports dead-letter topics. It does
not support ordering, filters, seek or schemas.
"""
