"""A stand-in for Google Pub/Sub, for development only: publish over gRPC, push over HTTP.

It answers the calls that the published client library makes, stores messages in PostgreSQL until
they are acknowledged, and pushes with attempts, backoff and dead-letter topics. It has no ordering,
no filters, no seek and no schemas.
"""
