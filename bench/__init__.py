"""Benchmarks. Each row of the table is compared with a peer or a baseline in the same run."""
