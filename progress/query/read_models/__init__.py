"""Queries of the read models, and their results as typed rows."""
