"""A Redis client for the query function: commands of many requests share one connection."""
