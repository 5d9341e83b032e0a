"""Benchmarks. Each row of the table compares Progress with a peer or a baseline in one run."""
