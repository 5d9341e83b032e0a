"""A stand-in for Google Pub/Sub, for development only: publish over gRPC, push over HTTP.

The stand-in serves the calls that Google's client library makes, and stores messages in
PostgreSQL until they are acknowledged. The stand-in retries pushes with backoff, and supports
dead-letter topics, ordering keys in pushes, and seeks to a time. It also serves Cloud Monitoring's
call that counts undelivered messages. It does not support filters or schemas.
"""
