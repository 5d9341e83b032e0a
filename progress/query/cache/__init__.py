"""The cache of query results: policies, versions, shared computations, and the rate limit."""
