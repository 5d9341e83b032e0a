"""A stand-in for Google Pub/Sub, for development only: publish over gRPC, pushes over HTTP.

It answers the calls that the published client library makes, keeps what was published in
PostgreSQL until it is acknowledged, and pushes with attempts, backoff and dead-letter topics.
It knows no ordering, no filters, no seek and no schemas.
"""
