"""Benchmarks.

Each row of the results compares Progress with a peer or a baseline, measured in the same run.
"""
