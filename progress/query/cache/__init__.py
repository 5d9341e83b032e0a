"""The cache of query results in Redis, and the rate limit, which shares its round trip."""
