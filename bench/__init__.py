"""Benchmarks. Each row of the results compares Progress with a peer or baseline in the same run."""
