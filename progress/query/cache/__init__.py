"""The cache of answers: policies, versions, shared computations, and the rate limit."""
